"""What is in shared memory already is not copied again."""

from __future__ import annotations

from array import array
from typing import Any

import allcores as mp
import numpy as np
import pytest
from allcores import _core, pickling
from allcores.errors import NotPicklable
from allcores.shared.put import Ref
from large_things import NUMBERS, address, exists, live_bytes, same, total


def _place(obj: Any, *_: Any) -> Any:
    return address(obj)


def _twice(obj: Any, queue: Any) -> Any:
    first = address(obj)
    queue.put(obj)
    obj[0] = 1
    queue.put(obj)
    return first


def test_what_tasks_of_one_call_share_is_stored_once(pool: Any) -> None:
    """All items of a map that have the same array in them get the same memory."""
    other = NUMBERS + 1
    for size in (1, 3, None):
        places = pool.starmap(_place, [(NUMBERS, i) for i in range(40)], size)
        assert None not in places
        assert len(set(places)) == 1
    # Where each has one of its own besides, it may be copied a second time.
    places = pool.starmap(_place_of_second, [(NUMBERS + i, other) for i in range(20)], 1)
    assert len(set(places)) <= 2


def _place_of_second(_: Any, obj: Any) -> Any:
    return address(obj)


def test_a_list_may_be_changed_between_calls(forked: Any) -> None:
    """Each call sends what is in the array as it begins."""
    numbers = NUMBERS.copy()
    for i in range(4):
        numbers[0] = i
        assert forked.starmap(total, [(numbers, 1)] * 6, 1) == [numbers.sum()] * 6
        assert forked.apply(total, (numbers,)) == numbers.sum()


def test_a_generator_may_use_its_array_again(forked: Any) -> None:
    """Items that are made one by one are sent as they are at that moment."""

    def items() -> Any:
        numbers = np.zeros(20_000)
        for i in range(30):
            numbers[:] = i
            yield numbers

    expected = [20_000.0 * i for i in range(30)]
    assert list(forked.imap(total, items())) == expected
    assert [r.get() for r in [forked.apply_async(total, (x,)) for x in items()]] == expected


def test_what_is_received_is_sent_on_as_it_is(pool: Any) -> None:
    """A view goes on without a copy, until it is written to; then it is another content."""
    queue = mp.Queue()
    numbers = mp.put(NUMBERS).get()
    place = address(numbers)
    assert place is not None
    assert pool.apply(_twice, (numbers, queue)) == place
    first, second = queue.get(), queue.get()
    assert address(first) == place
    assert address(second) not in (None, place)
    assert second[0] == 1
    assert first[0] == 0


def test_a_part_of_a_view_is_sent_on_as_it_is(forked: Any) -> None:
    """So is a slice, from where it begins."""
    numbers = mp.put(NUMBERS).get()
    part = numbers[777:]
    assert forked.apply(_place, (part,)) == address(numbers)
    assert (forked.apply(same, (part,)) == part).all()


def test_results_of_results(forked: Any) -> None:
    """A result that goes into the next call is copied once in all."""
    result = forked.apply(same, (NUMBERS,))
    place = address(result)
    for _ in range(3):
        result = forked.apply(same, (result,))
        assert address(result) == place


def test_the_same_content_is_not_stored_twice() -> None:
    """As long as somebody has it, sending an unchanged array again takes no more memory."""
    queue = mp.Queue()
    queue.put(NUMBERS)
    before = live_bytes()
    for _ in range(5):
        queue.put(NUMBERS)
    assert live_bytes() - before < NUMBERS.nbytes
    assert all((queue.get() == NUMBERS).all() for _ in range(6))


def _calls(func: Any, pool: Any) -> list[Any]:
    return [pool.map(func, range(4), 1) for _ in range(3)]


def test_a_function_with_a_large_array_travels_once(forked: Any) -> None:
    """What it refers to is unpacked once in each worker, as long as it stays the same."""
    numbers = NUMBERS.copy()
    seen: list[int] = []

    def count(_: int) -> tuple[int, Any]:
        seen.append(1)
        return len(seen), address(numbers)

    results = [one for call in _calls(count, forked) for one in call]
    assert len({place for _, place in results}) == 1
    assert max(number for number, _ in results) > 4  # the list is the one of the call before


def test_a_ref_arrives_as_the_object(pool: Any) -> None:
    """As an argument, as an item, and deep in one; always in the same memory."""
    ref = mp.put(NUMBERS)
    assert isinstance(ref, Ref)
    assert "ndarray" in repr(ref)
    places = [
        pool.apply(_place, (ref,)),
        *pool.map(_place, [ref] * 3, 1),
        pool.apply(_deep, ({"x": [ref]},)),
    ]
    assert len(set(places)) == 1
    assert places[0] is not None


def _deep(obj: Any) -> Any:
    return address(obj["x"][0])


def test_a_ref_for_threads_and_the_caller() -> None:
    """Without processes a function gets the object as well."""
    ref = mp.put({"x": NUMBERS})
    for engine in ("threads", "inline"):
        assert mp.map(_is_dict, [ref, ref], engine=engine) == [True, True]  # type: ignore[arg-type]
    with mp.pool.ThreadPool(1) as threads:
        assert threads.apply(_is_dict, (), {"obj": ref})
    threads.join()


def _is_dict(obj: Any) -> bool:
    return type(obj) is dict


def test_a_ref_holds_any_object(pool: Any) -> None:
    """Small ones, plain ones, those with shared objects in them, and functions."""
    lock = mp.Lock()
    for obj in (7, "text", [1, 2], {"a": (None, 2.5)}, bytes(300_000), list(range(100_000))):
        ref = mp.put(obj)
        assert ref.get() == obj
        assert pool.apply(same, (ref,)) == obj
    ref = mp.put((lock, lambda x: x + 1))
    del lock
    found, add = pool.apply(same, (ref,))
    with found:
        assert add(1) == 2


def test_a_ref_is_given_back_when_nobody_holds_it(pool: Any) -> None:
    """The memory lives as long as the Ref, or what came of it."""
    ref = mp.put(NUMBERS)
    assert ref.nbytes >= NUMBERS.nbytes
    mine = ref.get()
    place = address(mine)
    del ref
    assert pool.apply(_place, (mine,)) == place
    assert exists(place)
    del mine
    while exists(place):  # a worker lets go of arguments just after its result is there
        pool.apply(same, (1,))


def test_a_ref_that_cannot_be_made() -> None:
    """What can't be pickled is named, and nothing is left."""
    before = live_bytes()
    with open("/dev/null") as file, pytest.raises(mp.errors.NotPicklable, match="file"):
        mp.put([NUMBERS, file])
    assert live_bytes() <= before


def test_an_array_can_grow_after_it_could_not_be_sent(forked: Any) -> None:
    """The error, which may be kept for long, holds no buffer of it."""
    numbers = array("d", NUMBERS)
    with open("/dev/null") as file:
        result = forked.apply_async(same, ((numbers, file),))
        with pytest.raises(NotPicklable, match="file"):
            result.get()
        try:
            forked.map(same, [(numbers, file)])
        except NotPicklable:
            numbers.append(1.0)
    assert len(numbers) == len(NUMBERS) + 1
    assert not result.successful()


def test_what_was_sent_by_hand_stays() -> None:
    """A Ref in a plain pickle, of which nobody knows when it arrives, is there when it does."""
    data = pickling.dumps(mp.put(NUMBERS))
    assert (pickling.loads(data) == NUMBERS).all()
    assert _core.stats()["live_bytes"] > NUMBERS.nbytes


class _Filling:
    """Of those that write what they send into one array, which is used again."""

    room = np.empty(20_000)

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        self.room[:] = self.number
        return total, (self.room,)


def test_an_array_that_a_reduce_fills_again(forked: Any) -> None:
    """Each item has what its own `__reduce__` wrote, wherever in the item that is."""
    items = [_Filling(i) for i in range(12)]
    expected = [20_000.0 * i for i in range(12)]
    assert forked.map(same, items, 1) == expected
    assert forked.map(_x, [{"x": (item,)} for item in items], 1) == expected
    assert forked.map(_x, [{"x": np.array([item], dtype=object)} for item in items], 1) == expected


def _x(obj: Any) -> Any:
    return obj["x"][0]


class _Holder:
    def __init__(self, content: Any) -> None:
        self.content = content


def _place_of_content(holder: _Holder) -> Any:
    return address(holder.content)


def test_what_objects_of_a_call_share_is_stored_once(forked: Any) -> None:
    """Also where it has to be compared, as a `__reduce__` might have changed it."""
    places = forked.map(_place_of_content, [_Holder(NUMBERS) for _ in range(20)], 1)
    assert None not in places
    assert len(set(places)) == 1
