"""One task's way from ``Pool.map(f, xs)`` to a worker and back; README.md draws it."""
