"""What gets tasks done, behind one contract (contract.py).

A job (a result that somebody waits for: result.py, spread.py, stream.py, future.py in task/) makes
tasks and gives them to an engine; it doesn't know which one it is.
"""
