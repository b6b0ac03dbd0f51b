"""SciPy's `workers=` takes a function like `map`: that of a pool."""

import allcores as mp
import numpy as np
from scipy.integrate import quad_vec
from scipy.optimize import brute, differential_evolution

BOUNDS = [(0, 1)] * 3


def distance(x):
    return float(np.sum((x - 0.5) ** 2))


def evolve(workers):
    return differential_evolution(
        distance, BOUNDS, rng=1, maxiter=5, updating="deferred", workers=workers
    ).x


with mp.Pool(2) as pool:
    print("the same minimum:", np.array_equal(evolve(1), evolve(pool.map)))
    print("by brute force:", np.round(brute(distance, BOUNDS, Ns=5, workers=pool.map), 3))
    area, _ = quad_vec(lambda x: x**2, 0, 1, workers=pool.map)
    print("an integral:", round(area, 6))
