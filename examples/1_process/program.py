"""A function runs in a process of its own: two processes, two pids."""

import os

import allcores as mp


def work(name):
    print(f"{name}: pid {os.getpid()}")


child = mp.Process(target=work, args=("child",))
child.start()
child.join()
print(f"parent: pid {os.getpid()}, exit code of the child: {child.exitcode}")
