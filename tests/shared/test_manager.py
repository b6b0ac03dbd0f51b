"""Manager: lists and dicts without a server, the rest by the standard one."""

from __future__ import annotations

import multiprocessing
import multiprocessing.managers
import os

import allcores as mp
import pytest
from allcores import managers
from allcores.shared.dicts import Dict
from allcores.shared.lists import List

METHODS = ["fork", "spawn", "forkserver"]


def square(index, out):
    out[index] = index**2


@pytest.mark.parametrize("method", METHODS)
def test_the_squares_of_the_readme(method, capsys):
    ctx = mp.get_context(method)
    with ctx.Manager() as manager:
        out = manager.list(range(10))
        with ctx.Pool(processes=2) as pool:
            pool.starmap_async(square, [(i, out) for i in range(10)]).get(timeout=30)
        print(out)
    assert capsys.readouterr().out == "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\n"


def test_lists_and_dicts_alone_need_no_server():
    before = mp.active_children()
    with mp.Manager() as manager:
        shared = manager.list([1])
        shared.append(2)
        assert isinstance(shared, List)
        mapping = manager.dict([("a", shared)], b=2)
        assert isinstance(mapping, Dict)
        assert mapping["a"][:] == [1, 2]
        assert manager._number_of_objects() == 0
        assert mp.active_children() == before
    assert shared == [1, 2]
    assert mapping == {"a": [1, 2], "b": 2}
    manager.join()


def write(space, shared):
    space.child = os.getpid()
    shared.append(space)


@pytest.mark.parametrize("method", METHODS)
def test_everything_else_has_a_server(method):
    ctx = mp.get_context(method)
    with ctx.Manager() as manager:
        space, shared = manager.Namespace(a=1), manager.list()
        child = ctx.Process(target=write, args=(space, shared))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert space.child == child.pid
        assert manager._process.is_alive()
        assert manager.address
        namespace, value, queue = manager.Namespace(), manager.Value("i", 3), manager.Queue()
        namespace.x = value.value
        queue.put(namespace.x)
        assert queue.get() == 3
        lock, event = manager.Lock(), manager.Event()
        with lock:
            event.set()
        assert event.is_set()
        assert list(manager.Array("i", [1, 2])) == [1, 2]


def test_containers_and_proxies_hold_each_other():
    with mp.Manager() as manager:
        pets = manager.Namespace(ferrets=2)
        shared = manager.list([pets, [manager.Namespace(x=1)]])
        mapping = manager.dict(pets=pets, more={"x": manager.Namespace(x=3)})
        del pets
        assert shared[0].ferrets == mapping["pets"].ferrets == 2
        assert shared[1][0].x == 1
        assert mapping["more"]["x"].x == 3
        space = manager.Namespace(inner=manager.list([1]), mapping=manager.dict(k=1))
        space.inner.append(2)
        space.mapping["k"] += 1
        assert space.inner[:] == [1, 2]
        assert space.mapping == {"k": 2}


@pytest.mark.parametrize("method", METHODS)
def test_the_server_lets_go_of_what_a_child_had(method):
    ctx = mp.get_context(method)
    with ctx.Manager() as manager:
        space, nested = manager.Namespace(), [manager.Queue()]
        child = ctx.Process(target=write, args=(space, nested), daemon=True)
        child.start()
        child.join()
        assert child.exitcode == 0
        assert space.child == child.pid
        assert manager._number_of_objects() == 2
        del child, space, nested
        assert manager._number_of_objects() == 0


def test_the_standard_library_knows_it():
    with mp.Manager() as manager:
        assert isinstance(manager, multiprocessing.managers.SyncManager)
        assert isinstance(manager, multiprocessing.managers.BaseManager)
        assert isinstance(manager, managers.BaseManager)
    assert issubclass(managers.SharedMemoryManager, multiprocessing.managers.SharedMemoryManager)
    for name in ("RemoteError", "Server", "DictProxy", "Namespace", "dispatch", "State"):
        assert getattr(managers, name) is getattr(multiprocessing.managers, name)


def test_states():
    manager = managers.SyncManager()
    with pytest.raises(mp.ProcessError, match="start"):
        manager.list()
    manager.start()
    with pytest.raises(mp.ProcessError, match="Already started"):
        manager.start()
    manager.shutdown()
    with pytest.raises(mp.ProcessError, match="shut down"):
        manager.list()
    with pytest.raises(mp.ProcessError, match="shut down"):
        manager.dict()
    with pytest.raises(AssertionError):
        manager.Namespace()
    with pytest.raises(mp.ProcessError, match="shut down"), manager:
        pass
    with pytest.raises(TypeError, match="callable"):
        managers.SyncManager().start(initializer=3)


class Counter:
    def __init__(self):
        self.count = 0

    def increment(self):
        self.count += 1
        return self.count


@pytest.mark.parametrize("method", METHODS)
def test_registered_types_and_addresses(method):
    class Custom(managers.BaseManager):
        pass

    class Client(managers.BaseManager):
        pass

    Custom.register("Counter", Counter)
    counter = Counter()
    Client.register("Counter")
    with Custom(("127.0.0.1", 0), authkey=b"key", ctx=mp.get_context(method)) as manager:
        counter = manager.Counter()
        assert counter.increment() == 1
        client = Client(manager.address, authkey=b"key")
        client.connect()
        assert client.Counter().increment() == 1


def test_shared_memory_manager():
    with managers.SharedMemoryManager() as manager:
        memory = manager.SharedMemory(size=8)
        memory.buf[0] = 7
        assert manager.ShareableList([1, "two"])[1] == "two"
