"""What the documentation of Python 3.14 says there is, written down as names and signatures.

A line is a name under `allcores`, with the parameters of what can be called. Parameters in the
documentation's brackets are written with the default that they have.
"""

from __future__ import annotations

DOCUMENTED = """
Process(group=None, target=None, name=None, args=(), kwargs={}, *, daemon=None)
Process.run()
Process.start()
Process.join(timeout=None)
Process.is_alive()
Process.interrupt()
Process.terminate()
Process.kill()
Process.close()
Process.name
Process.daemon
Process.pid
Process.exitcode
Process.authkey
Process.sentinel
ProcessError
BufferTooShort
AuthenticationError
TimeoutError

Pipe(duplex=True)
Queue(maxsize=0)
SimpleQueue()
JoinableQueue(maxsize=0)
queues.Queue.qsize()
queues.Queue.empty()
queues.Queue.full()
queues.Queue.put(obj, block=True, timeout=None)
queues.Queue.put_nowait(obj)
queues.Queue.get(block=True, timeout=None)
queues.Queue.get_nowait()
queues.Queue.close()
queues.Queue.join_thread()
queues.Queue.cancel_join_thread()
queues.SimpleQueue.close()
queues.SimpleQueue.empty()
queues.SimpleQueue.get()
queues.SimpleQueue.put(obj)
queues.JoinableQueue.task_done()
queues.JoinableQueue.join()

active_children()
cpu_count()
current_process()
parent_process()
freeze_support()
get_all_start_methods()
get_context(method=None)
get_start_method(allow_none=False)
set_executable(executable)
set_forkserver_preload(module_names)
set_start_method(method, force=False)

connection.Connection.send(obj)
connection.Connection.recv()
connection.Connection.fileno()
connection.Connection.close()
connection.Connection.poll(timeout=0.0)
connection.Connection.send_bytes(buf, offset=0, size=None)
connection.Connection.recv_bytes(maxlength=None)
connection.Connection.recv_bytes_into(buf, offset=0)
connection.deliver_challenge(connection, authkey)
connection.answer_challenge(connection, authkey)
connection.Client(address, family=None, authkey=None)
connection.Listener(address=None, family=None, backlog=1, authkey=None)
connection.Listener.accept()
connection.Listener.close()
connection.Listener.address
connection.Listener.last_accepted
connection.wait(object_list, timeout=None)

Barrier(parties, action=None, timeout=None)
BoundedSemaphore(value=1)
Condition(lock=None)
Event()
Lock()
RLock()
Semaphore(value=1)
synchronize.Lock.acquire(block=True, timeout=None)
synchronize.Lock.release()
synchronize.Lock.locked()
synchronize.RLock.acquire(block=True, timeout=None)
synchronize.RLock.release()
synchronize.RLock.locked()
synchronize.Semaphore.acquire(block=True, timeout=None)
synchronize.Semaphore.release()
synchronize.Semaphore.get_value()
synchronize.Semaphore.locked()
synchronize.BoundedSemaphore.acquire(block=True, timeout=None)
synchronize.BoundedSemaphore.release()
synchronize.Condition.acquire
synchronize.Condition.release
synchronize.Condition.wait(timeout=None)
synchronize.Condition.wait_for(predicate, timeout=None)
synchronize.Condition.notify(n=1)
synchronize.Condition.notify_all()
synchronize.Event.is_set()
synchronize.Event.set()
synchronize.Event.clear()
synchronize.Event.wait(timeout=None)
synchronize.Barrier.wait(timeout=None)
synchronize.Barrier.reset()
synchronize.Barrier.abort()
synchronize.Barrier.parties
synchronize.Barrier.n_waiting
synchronize.Barrier.broken

Value(typecode_or_type, *args, lock=True)
Array(typecode_or_type, size_or_initializer, *, lock=True)
sharedctypes.RawArray(typecode_or_type, size_or_initializer)
sharedctypes.RawValue(typecode_or_type, *args)
sharedctypes.Array(typecode_or_type, size_or_initializer, *, lock=True)
sharedctypes.Value(typecode_or_type, *args, lock=True)
sharedctypes.copy(obj)
sharedctypes.synchronized(obj, lock=None)
sharedctypes.Synchronized.get_obj()
sharedctypes.Synchronized.get_lock()
sharedctypes.Synchronized.value
sharedctypes.SynchronizedString.raw

Manager()
managers.BaseManager(address=None, authkey=None, serializer='pickle', ctx=None, *, shutdown_timeout=1.0)
managers.BaseManager.start(initializer=None, initargs=())
managers.BaseManager.get_server()
managers.BaseManager.connect()
managers.BaseManager.register(typeid, callable=None, proxytype=None, exposed=None, method_to_typeid=None, create_method=True)
managers.BaseManager.address
managers.SyncManager.shutdown()
managers.SyncManager.Barrier(parties, action=None, timeout=None)
managers.SyncManager.BoundedSemaphore(value=1)
managers.SyncManager.Condition(lock=None)
managers.SyncManager.Event()
managers.SyncManager.Lock()
managers.SyncManager.Namespace()
managers.SyncManager.Queue(maxsize=0)
managers.SyncManager.RLock()
managers.SyncManager.Semaphore(value=1)
managers.SyncManager.Array(typecode, sequence)
managers.SyncManager.Value(typecode, value)
managers.SyncManager.dict
managers.SyncManager.list
managers.SyncManager.set
managers.Namespace
managers.SharedMemoryManager(address=None, authkey=None)
managers.SharedMemoryManager.SharedMemory(size)
managers.SharedMemoryManager.ShareableList(sequence)
managers.BaseProxy._callmethod(methodname, args=(), kwds={})
managers.BaseProxy._getvalue()

Pool(processes=None, initializer=None, initargs=(), maxtasksperchild=None)
pool.Pool(processes=None, initializer=None, initargs=(), maxtasksperchild=None, context=None)
pool.Pool.apply(func, args=(), kwds={})
pool.Pool.apply_async(func, args=(), kwds={}, callback=None, error_callback=None)
pool.Pool.map(func, iterable, chunksize=None)
pool.Pool.map_async(func, iterable, chunksize=None, callback=None, error_callback=None)
pool.Pool.imap(func, iterable, chunksize=1)
pool.Pool.imap_unordered(func, iterable, chunksize=1)
pool.Pool.starmap(func, iterable, chunksize=None)
pool.Pool.starmap_async(func, iterable, chunksize=None, callback=None, error_callback=None)
pool.Pool.close()
pool.Pool.terminate()
pool.Pool.join()
pool.AsyncResult.get(timeout=None)
pool.AsyncResult.wait(timeout=None)
pool.AsyncResult.ready()
pool.AsyncResult.successful()
pool.ThreadPool(processes=None, initializer=None, initargs=())
dummy.Pool(processes=None, initializer=None, initargs=())

get_logger()
log_to_stderr(level=None)

shared_memory.SharedMemory(name=None, create=False, size=0, *, track=True)
shared_memory.SharedMemory.close()
shared_memory.SharedMemory.unlink()
shared_memory.SharedMemory.buf
shared_memory.SharedMemory.name
shared_memory.SharedMemory.size
shared_memory.ShareableList(sequence=None, *, name=None)
shared_memory.ShareableList.count(value)
shared_memory.ShareableList.index(value)
shared_memory.ShareableList.format

ProcessPoolExecutor(max_workers=None, mp_context=None, initializer=None, initargs=(), *, max_tasks_per_child=None)
ProcessPoolExecutor.submit(fn, /, *args, **kwargs)
ProcessPoolExecutor.map(fn, *iterables, timeout=None, chunksize=1, buffersize=None)
ProcessPoolExecutor.shutdown(wait=True, *, cancel_futures=False)
ProcessPoolExecutor.terminate_workers()
ProcessPoolExecutor.kill_workers()
"""  # noqa: E501
