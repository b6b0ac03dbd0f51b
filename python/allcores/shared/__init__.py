"""Objects in memory that all processes of a program share, one kind a file.

``values``: ctypes values and arrays. ``list``: a list. ``manager``: what ``Manager()`` returns.
"""
