"""Two workers of a pool write squares into one shared list."""

import allcores as mp


def square(index, out):
    out[index] = index**2


with mp.Manager() as manager:
    out = manager.list(range(10))
    with mp.Pool(processes=2) as pool:
        pool.starmap_async(square, [(index, out) for index in range(10)]).get(timeout=60)
    print(out)
