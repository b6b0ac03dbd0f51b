"""Dask's scheduler of processes takes a pool or an executor with `pool=`."""

import os

import allcores as mp
import dask
import dask.bag


def square(x):
    return x * x, os.getpid()


numbers = dask.bag.from_sequence(range(100), npartitions=10).map(square)
for make in (mp.Pool, mp.ProcessPoolExecutor):
    with make(2) as pool, dask.config.set(scheduler="processes", pool=pool):
        values, pids = zip(*numbers.compute(), strict=True)
    print(sum(values), "elsewhere:", os.getpid() not in pids)
