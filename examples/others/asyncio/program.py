"""An event loop awaits calls in other processes; `wait` and `as_completed` take our futures."""

import asyncio
from concurrent.futures import ALL_COMPLETED, ThreadPoolExecutor, as_completed, wait

import allcores as mp


def square(x):
    return x * x


async def squares(executor):
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*(loop.run_in_executor(executor, square, x) for x in range(5)))


with mp.ProcessPoolExecutor(2) as executor, ThreadPoolExecutor(1) as threads:
    print(asyncio.run(squares(executor)))
    futures = [executor.submit(square, 6), threads.submit(square, 7)]
    print(sorted(future.result() for future in as_completed(futures)))
    done, rest = wait(futures, return_when=ALL_COMPLETED)
    print(len(done), len(rest))
