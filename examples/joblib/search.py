"""A search for the best parameters, by joblib on allcores."""

import random

import allcores
import joblib


def score(width, depth):
    """Find out how well a model with these parameters does: here, a made-up one."""
    chance = random.Random(f"{width}/{depth}")
    return sum(chance.gauss(width * depth - width**2, depth) for _ in range(2000)) / 2000


grid = [(width, depth) for width in range(1, 9) for depth in range(1, 9)]
with joblib.parallel_config(backend="allcores", n_jobs=-1):
    scores = joblib.Parallel()(joblib.delayed(score)(*parameters) for parameters in grid)
best, (width, depth) = max(zip(scores, grid, strict=True))
print(f"{len(scores)} tried with {allcores.__name__}; the best: width {width}, depth {depth}")
