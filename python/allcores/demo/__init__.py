"""The main job: measure the standard library serially, in threads and on all cores, and compare.

A run goes through these files, one step each, top to bottom in ``command``::

    files     which files to measure, in which order
    measure   the work on one of them
    ways      the three ways of going through all of them, timed
    progress  the bar meanwhile
    explain   why the figures are what they are, in words
    report    the table, the findings, JSON
    plot      the picture
"""

from allcores.demo.command import Options, run

__all__ = ["Options", "run"]
