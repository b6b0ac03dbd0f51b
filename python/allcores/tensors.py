"""PyTorch tensors on their way: those that nobody shares on purpose travel like arrays.

PyTorch itself moves a tensor that is sent into shared memory, so that sender and receiver have the
same one from then on, with a file or a descriptor for each. That is how it stays for tensors
that are shared already (``share_memory_``), parameters, and those on other devices. An
ordinary one on the CPU is copied into the arena once, and the receiver's is its own.
"""

from __future__ import annotations

import importlib
import sys
from pickle import PickleBuffer
from typing import Any

__all__ = ["reduce", "tensor_type"]


def tensor_type() -> Any:
    """Return the class of tensors; None when PyTorch isn't loaded."""
    return getattr(sys.modules.get("torch"), "Tensor", None)


def reduce(tensor: Any) -> tuple[Any, ...] | None:
    """Return how a tensor is pickled; None for one that is PyTorch's to send.

    Args:
        tensor: a `torch.Tensor`, not of a subclass.
    """
    torch = sys.modules["torch"]
    if (
        tensor.device.type != "cpu"
        or tensor.layout != torch.strided
        or tensor.is_shared()
        or (tensor.requires_grad and not tensor.is_leaf)
        or tensor.is_conj()
        or tensor.is_neg()
        or tensor.is_quantized
        or tensor.numel() == 0
    ):
        return None
    plain = tensor.detach()
    storage = plain.untyped_storage()
    if storage.nbytes() == plain.numel() * plain.element_size():
        # All of its memory, in whatever order.
        strides = plain.stride()
        memory = torch.empty(0, dtype=torch.uint8).set_(storage)
    else:
        plain = plain.contiguous()
        strides = plain.stride()
        memory = plain.view(-1).view(torch.uint8)
    shape = (tuple(plain.shape), tuple(strides))
    return _rebuild, (PickleBuffer(memory.numpy()), plain.dtype, *shape, tensor.requires_grad)


def _rebuild(
    buffer: Any, dtype: Any, shape: tuple[int, ...], strides: tuple[int, ...], wants_grad: bool
) -> Any:
    torch: Any = importlib.import_module("torch")
    if isinstance(buffer, bytes):
        buffer = bytearray(buffer)
    tensor = torch.frombuffer(buffer, dtype=dtype).as_strided(shape, strides)
    return tensor.requires_grad_() if wants_grad else tensor
