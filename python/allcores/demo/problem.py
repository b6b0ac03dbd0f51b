"""What the demo can't do as asked."""

__all__ = ["Problem"]


class Problem(Exception):
    """The request can't be carried out; the message says why and what to do. Exit code 2."""
