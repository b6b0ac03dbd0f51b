"""tqdm's `process_map` with our executor, and bars that share a lock over processes."""

import concurrent.futures

import allcores as mp
from tqdm import tqdm
from tqdm.contrib.concurrent import process_map


def square(x):
    return x * x


concurrent.futures.ProcessPoolExecutor = mp.ProcessPoolExecutor
print(process_map(square, range(10), max_workers=2, chunksize=2, disable=True))

with mp.Pool(2, initializer=tqdm.set_lock, initargs=(mp.RLock(),)) as pool:
    print(sum(tqdm(pool.imap_unordered(square, range(10)), total=10, disable=True)))
