"""scikit-learn in the workers of a pool, where joblib starts what it needs by itself."""

import allcores as mp


def score(seed):
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier

    data, labels = make_classification(100, random_state=seed)
    forest = RandomForestClassifier(n_estimators=5, n_jobs=2, random_state=0)
    return forest.fit(data, labels).score(data, labels)


with mp.Pool(2) as pool:
    print("the same scores:", pool.map(score, range(4)) == [score(seed) for seed in range(4)])
