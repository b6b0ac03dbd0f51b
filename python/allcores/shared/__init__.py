"""Objects in memory that all processes of a program share, one kind a file.

``values``: ctypes values and arrays. ``list``: a list. ``dict``: a dict; ``keys`` says when keys
are equal, ``views`` what ``keys()`` and the like return. ``items``: what containers hold.
``manager``: what ``Manager()`` returns. ``array``: NumPy arrays. ``put``: objects stored once.
"""
