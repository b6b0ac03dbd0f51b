"""``allcores run``: an unchanged program, with allcores where it says multiprocessing.

The command (command.py) starts the program's own interpreter, with startup/sitecustomize.py in
its way, which puts replace.py into it. What that is, DESIGN.md says.
"""
