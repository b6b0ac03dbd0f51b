"""A child fills an array that both processes see."""

import allcores as mp


def fill(arr):
    arr[:] = [5, 6, 7]


numbers = mp.Array("i", [1, 2, 3])
print("before:", numbers[:])
child = mp.Process(target=fill, args=(numbers,))
child.start()
child.join()
print("after:", numbers[:])
