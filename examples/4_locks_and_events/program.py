"""Four processes count under one lock; three wait for one event."""

import allcores as mp


def count(counter, lock):
    for _ in range(10_000):
        with lock:
            counter.value += 1


def run_when_told(number, ready, start, results):
    ready.release()
    start.wait()
    results.put(number)


counter = mp.Value("i", 0, lock=False)
lock = mp.Lock()
counters = [mp.Process(target=count, args=(counter, lock)) for _ in range(4)]
for process in counters:
    process.start()
for process in counters:
    process.join()
print("counted:", counter.value)

ready, start, results = mp.Semaphore(0), mp.Event(), mp.Queue()
runners = [mp.Process(target=run_when_told, args=(n, ready, start, results)) for n in range(3)]
for process in runners:
    process.start()
for _ in runners:
    ready.acquire()
print("all wait, and none has run:", results.empty())
start.set()
print("all have run:", sorted(results.get() for _ in runners))
for process in runners:
    process.join()
