"""What gets tasks done, behind one contract.

A job (a result that somebody waits for: result.py, spread.py, stream.py, future.py in task/) makes
tasks and gives them to an engine; it doesn't know which one it is.

``contract`` says what they know of each other. ``local`` is what the engines in this process
share: ``threads`` and ``inline``. The engine of processes is ``task/line.py``. ``plan`` chooses one
for a single call, and ``awaited`` lets an event loop wait for it.
"""
