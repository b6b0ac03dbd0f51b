"""PyTorch's tensors, where it is installed: ordinary ones are copied, shared ones are shared."""

from __future__ import annotations

from typing import Any

import allcores as mp
import pytest
from allcores import pickling
from large_things import same

torch = pytest.importorskip("torch")


def _set(tensor: Any) -> Any:
    with torch.no_grad():
        tensor[0] = 5
    return tensor


def _tensors() -> dict[str, Any]:
    numbers = torch.arange(60_000, dtype=torch.float32)
    return {
        "plain": numbers,
        "small": numbers[:3].clone(),
        "part": numbers[100:40_000],
        "strided": numbers.reshape(200, 300)[:, ::2],
        "transposed": numbers.reshape(200, 300).T,
        "channels last": numbers.reshape(10, 3, 40, 50).to(memory_format=torch.channels_last),
        "bfloat16": numbers.to(torch.bfloat16),
        "bool": numbers > 5,
        "complex": torch.complex(numbers, numbers),
        "scalar": torch.tensor(3),
        "leaf": numbers.clone().requires_grad_(),
        "empty": torch.empty(0, 3),
    }


def test_they_arrive_whole(pool: Any) -> None:
    """Values, types, shapes and, where all of the memory is used, its order."""
    for name, tensor in _tensors().items():
        back = pool.apply(same, (tensor,))
        assert back.dtype == tensor.dtype, name
        assert back.requires_grad == tensor.requires_grad
        assert torch.equal(back, tensor), name
        if name in ("transposed", "channels last"):
            assert back.stride() == tensor.stride()


def test_ordinary_ones_are_the_receivers_own(pool: Any) -> None:
    """Unlike with PyTorch's own way, the sender's tensor stays as and where it is."""
    for size in (3, 60_000):
        tensor = torch.zeros(size)
        back = pool.apply(_set, (tensor,))
        assert back[0] == 5
        assert tensor[0] == 0
        assert not tensor.is_shared()
        back[1] = 6


def test_they_go_beside_the_pickle() -> None:
    """A large one is not in the pickle."""
    data, refs = pickling.pack([torch.zeros(60_000)])
    assert refs.nbytes == 240_000
    assert len(data) < 2000


def test_shared_ones_are_shared(pool: Any) -> None:
    """What the program has shared is the same memory everywhere."""
    tensor = torch.zeros(60_000).share_memory_()
    pool.apply(_set, (tensor,))
    assert tensor[0] == 5
    queue = mp.Queue()
    queue.put(torch.nn.Parameter(torch.zeros(4)))
    assert queue.get().shape == (4,)
