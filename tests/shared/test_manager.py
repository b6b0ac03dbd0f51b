"""Manager: what it makes needs no server, registered types and addresses have the standard one."""

from __future__ import annotations

import collections
import gc
import multiprocessing
import multiprocessing.managers
import os
from array import array as array_of

import allcores as mp
import pytest
from allcores import errors, managers
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
            pool.starmap_async(square, [(i, out) for i in range(10)]).get(timeout=150)
        print(out)
    assert capsys.readouterr().out == "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\n"


def test_what_it_makes_needs_no_server():
    before = mp.active_children()
    with mp.Manager() as manager:
        shared = manager.list([1])
        shared.append(2)
        assert isinstance(shared, List)
        mapping = manager.dict([("a", shared)], b=2)
        assert isinstance(mapping, Dict)
        assert mapping["a"][:] == [1, 2]
        namespace, value, queue = manager.Namespace(), manager.Value("i", 3), manager.Queue()
        namespace.x = value.value
        queue.put(namespace.x)
        assert queue.get() == 3
        lock, event = manager.Lock(), manager.Event()
        with lock:
            event.set()
        assert event.is_set()
        assert list(manager.Array("i", [1, 2])) == [1, 2]
        assert manager._number_of_objects() == 0
        assert mp.active_children() == before
    manager.join()


def share(space, shared, latest, array, value, seen, lock, arrived, queue):
    space.child = os.getpid()
    space.nested["list"].append(1)
    shared.append(space)
    latest.append(4)
    array[1] = 7
    seen.add("child")
    with lock:
        value.value += 1
    arrived.wait()
    queue.put("done")


@pytest.mark.parametrize("method", METHODS)
def test_all_that_it_makes_is_the_same_in_a_child(method):
    ctx = mp.get_context(method)
    with ctx.Manager() as manager:
        space, shared, value = manager.Namespace(nested={"list": []}), manager.list(), [1]
        latest, array = manager.deque([1, 2, 3], 3), manager.Array("d", [1.5, 2])
        value, seen, lock = manager.Value("i", 5), manager.set(), manager.RLock()
        arrived, queue = manager.Barrier(2), manager.JoinableQueue()
        everything = (space, shared, latest, array, value, seen, lock, arrived, queue)
        child = ctx.Process(target=share, args=everything)
        child.start()
        arrived.wait()
        assert queue.get() == "done"
        queue.task_done()
        queue.join()
        child.join()
        assert child.exitcode == 0
        assert space.child == shared[0].child == child.pid
        assert space.nested == {"list": [1]}
        assert latest == collections.deque([2, 3, 4], 3)
        assert array[:] == array_of("d", [1.5, 7])
        assert value.get() == 6
        assert seen == {"child"}
        assert repr(space) == f"Namespace(child={child.pid}, nested={{'list': [1]}})"
        assert repr(value) == "Value('i', 6)"
        assert repr(array) == "array('d', [1.5, 7.0])"


def test_exceptions_are_those_of_threading_and_queue():
    with mp.Manager() as manager:
        for lock in manager.Lock(), manager.RLock(), manager.Condition():
            with pytest.raises(RuntimeError):
                lock.release()
        condition = manager.Condition()
        for method in condition.notify, condition.notify_all, condition.wait:
            with pytest.raises(RuntimeError):
                method()
        with pytest.raises(RuntimeError):
            condition.wait_for(bool)
        with pytest.raises(ValueError):
            manager.BoundedSemaphore(1).release()
        lock = manager.Lock()
        assert lock.acquire(blocking=False)
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0)
        with pytest.raises(ValueError, match="timeout"):
            lock.acquire(False, 1)
        array = manager.Array("b", [1])
        for wrong in 300, "x":
            with pytest.raises((TypeError, OverflowError)):
                array[0] = wrong
        with pytest.raises(TypeError):
            array[:] = [1]
        with pytest.raises(IndexError):
            array[1]
        assert array[0] == 1
        with pytest.raises(TypeError):
            manager.Array("b", ["x"])
        with pytest.raises(AttributeError, match="missing"):
            manager.Namespace().missing
        with pytest.raises(AttributeError):
            del manager.Namespace().missing
        with pytest.raises(ValueError):
            manager.Queue().get(timeout=-1)


def test_what_programs_call_on_proxies():
    with mp.Manager() as manager:
        shared, mapping, space = manager.list([1, 2]), manager.dict(a=1), manager.Namespace(x=1)
        assert shared._getvalue() == shared._callmethod("__getitem__", (slice(None),)) == [1, 2]
        assert type(shared._getvalue()) is list
        mapping._callmethod("update", kwds={"b": 2})
        assert mapping._getvalue() == {"a": 1, "b": 2}
        assert space._callmethod("__getattribute__", ("x",)) == space._getvalue().x == 1
        assert manager.Value("i", 3)._callmethod("get") == manager.Value("i", 3)._getvalue() == 3
        assert manager.Array("i", [1])._getvalue() == array_of("i", [1])
        assert manager.set([1])._getvalue() == {1}


def test_a_pool_ends_with_its_manager():
    with mp.Manager() as manager:
        pool = manager.Pool(2)
        assert pool.map(abs, range(-3, 0)) == [3, 2, 1]
    with pytest.raises(ValueError):
        pool.map(abs, [1])


USES = {
    "list": lambda m: m.list([1]).append,
    "dict": lambda m: m.dict(a=1).get,
    "dict, len": lambda m: (lambda d: lambda _: len(d))(m.dict()),
    "dict, in": lambda m: m.dict(a=1).__contains__,
    "set": lambda m: m.set().add,
    "deque": lambda m: m.deque().append,
    "Namespace": lambda m: (lambda n: lambda _: n.x)(m.Namespace(x=1)),
    "Value": lambda m: m.Value("i", 1).set,
    "Array": lambda m: m.Array("i", [1]).__getitem__,
    "Lock": lambda m: m.Lock().acquire,
    "Semaphore": lambda m: m.Semaphore().acquire,
    "Condition": lambda m: m.Condition().acquire,
    "Event": lambda m: m.Event().wait,
    "Barrier": lambda m: m.Barrier(1).wait,
    "Queue": lambda m: m.Queue().put,
    "container's lock": lambda m: m.list().lock.acquire,
    "nested": lambda m: (lambda d: d["a"].append)(m.dict(a=[])),
    "iterator": lambda m: (lambda i: lambda _: next(i))(iter(m.list([1]))),
}


@pytest.mark.parametrize("use", USES)
def test_nothing_is_used_after_the_shutdown(use):
    with mp.Manager() as manager:
        used = USES[use](manager)
    with pytest.raises(errors.ManagerShutDown, match="shut down") as caught:
        used(0)
    assert isinstance(caught.value, ConnectionRefusedError)


def test_handles_that_travelled_know_of_the_shutdown():
    queue = mp.SimpleQueue()
    with mp.Manager() as manager:
        queue.put([manager.list(), manager.set(), manager.Event(), manager.Queue()])
        outside = mp.shared.dict(inner=manager.list([1]))
    shared, elements, event, its_queue = queue.get()
    for use in shared.clear, elements.clear, event.is_set, its_queue.empty, outside["inner"].clear:
        with pytest.raises(errors.ManagerShutDown):
            use()
    assert "shut down" in repr(shared)
    assert "shut down" in repr(elements)


def wait_for_ever(object_, how, started, told):
    started.set()
    try:
        getattr(object_, how)()
    except errors.ManagerShutDown:
        told.put(how)


@pytest.mark.parametrize("method", METHODS)
def test_who_waits_is_told_of_the_shutdown(method):
    ctx = mp.get_context(method)
    told = ctx.SimpleQueue()
    with ctx.Manager() as manager:
        lock = manager.Lock()
        lock.acquire()
        shared = manager.list()
        shared.lock.acquire()
        waits = [
            (manager.Queue(), "get"),
            (lock, "acquire"),
            (manager.Event(), "wait"),
            (manager.Barrier(2), "wait"),
            (shared, "clear"),
        ]
        children = []
        for object_, how in waits:
            started = ctx.Event()
            child = ctx.Process(target=wait_for_ever, args=(object_, how, started, told))
            child.start()
            started.wait()
            children.append(child)
    for child in children:
        child.join()
    assert sorted(told.get() for _ in waits) == sorted(how for _, how in waits)


def test_a_forgotten_manager_ends_nothing():
    shared = mp.Manager().list([1])
    gc.collect()
    shared.append(2)
    assert shared == [1, 2]


def copy_of_it(manager, ended):
    manager.shutdown()
    ended.put(manager.list([1])[0])


def test_a_fork_of_it_ends_nothing():
    ctx = mp.get_context("fork")
    with ctx.Manager() as manager:
        shared, ended = manager.list(), ctx.SimpleQueue()
        child = ctx.Process(target=copy_of_it, args=(manager, ended))
        child.start()
        child.join()
        assert ended.get() == 1
        shared.append(1)


def note(made):
    made.append(os.getpid())


@pytest.mark.parametrize("method", METHODS)
def test_an_address_or_an_initializer_has_a_server(method):
    ctx = mp.get_context(method)
    manager = managers.SyncManager(ctx=ctx)
    made = mp.shared.list()
    manager.start(note, (made,))
    with manager:
        assert made == [manager._process.pid]
        assert isinstance(manager.list(), List)
        client = managers.SyncManager(manager.address, manager._authkey)
        client.connect()
        proxies = client.list([1]), client.Namespace(x=1), client.Lock(), client.dict(a=2)
        assert all(isinstance(proxy, managers.BaseProxy) for proxy in proxies)
        assert proxies[0][0] == proxies[1].x == 1
    with managers.SyncManager(("127.0.0.1", 0), ctx=ctx) as manager:
        assert isinstance(manager.Queue(), managers.BaseProxy)
        with pytest.raises(NotImplementedError, match="register"):
            manager.deque()


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


def proxied(queue, shared):
    queue.put(1)
    shared.append(queue)


@pytest.mark.parametrize("method", METHODS)
def test_the_server_lets_go_of_what_a_child_had(method):
    ctx = mp.get_context(method)
    with managers.SyncManager(("127.0.0.1", 0), ctx=ctx) as manager:
        queue, shared = manager.Queue(), mp.shared.list()
        child = ctx.Process(target=proxied, args=(queue, [manager.Queue()]), daemon=True)
        child.start()
        child.join()
        assert child.exitcode == 0
        assert queue.get() == 1
        shared.append(queue)
        assert manager._number_of_objects() == 1


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
    with pytest.raises(mp.ProcessError, match="shut down"):
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
