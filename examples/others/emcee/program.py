"""A Markov chain whose walkers are computed by a pool: the same chain as without one."""

import allcores as mp
import emcee
import numpy as np


def log_probability(x):
    return -0.5 * np.sum(x**2)


def chain(pool=None):
    sampler = emcee.EnsembleSampler(8, 3, log_probability, pool=pool)
    sampler.random_state = np.random.RandomState(5).get_state()
    sampler.run_mcmc(np.random.RandomState(1).randn(8, 3), 50)
    return sampler.get_chain()


with mp.Pool(2) as pool:
    print("the same chain:", np.array_equal(chain(), chain(pool)))
