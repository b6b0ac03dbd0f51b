"""Records of `logging` in a worker: those that no handler takes here go to the pool's process.

The loggers have the levels that they have there. A worker that sets up handlers of its own
(`basicConfig` in an initializer, a `QueueHandler`) has what it logs handled by those, and nothing
comes twice: the handler that sends records takes those only that no other one does.

A forked worker has the handlers of its parent. These are taken away, since the parent has them:
there, records of all workers come one after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Logs"]

# It writes about processes themselves to where `log_to_stderr` says.
_LEFT_ALONE = "multiprocessing"


class Logs:
    """Sets `logging` up.

    Args:
        levels: of loggers, by name; that of "" is the root's.
        disabled: as `logging.disable` takes it.
        send: sends the attributes of a record; returns whether it could.
    """

    def __init__(
        self,
        levels: dict[str, int],
        disabled: int,
        send: Callable[[dict[str, Any]], bool],
    ) -> None:
        self._taken = [
            (logger, logger.handlers[:], logger.filters[:]) for logger in _loggers(logging.root)
        ]
        for logger, _, _ in self._taken:
            logger.handlers, logger.filters = [], []
        self._levels = [(logging.getLogger(name), level) for name, level in levels.items()]
        self._before = [(logger, logger.level) for logger, _ in self._levels]
        for logger, level in self._levels:
            logger.setLevel(level)
        self._disabled = logging.root.manager.disable
        logging.disable(disabled)
        self._last_resort = logging.lastResort
        self._sender = _Sender(send, self._last_resort)
        logging.lastResort = self._sender
        logging.root.addHandler(self._sender)
        self._basic_config = logging.basicConfig
        logging.basicConfig = self._configure

    def _configure(self, **keywords: Any) -> None:
        """Set handlers up as in a process that has none; in the place of `logging.basicConfig`."""
        logging.root.removeHandler(self._sender)
        self._basic_config(**keywords)

    def end(self) -> None:
        """Leave `logging` as it was, but for what others have set."""
        logging.basicConfig = self._basic_config
        logging.lastResort = self._last_resort
        logging.root.removeHandler(self._sender)
        logging.disable(self._disabled)
        for logger, level in self._before:
            logger.setLevel(level)
        for logger, handlers, filters in self._taken:
            logger.handlers[:0] = handlers
            logger.filters[:0] = filters


def _loggers(root: logging.Logger) -> Iterator[logging.Logger]:
    """Return the loggers that have handlers or filters."""
    every = [root, *root.manager.loggerDict.values()]
    for logger in every:
        if not isinstance(logger, logging.Logger):
            continue
        if (logger.handlers or logger.filters) and not logger.name.startswith(_LEFT_ALONE):
            yield logger


class _Sender(logging.Handler):
    """Takes the records that nobody else does.

    Args:
        send: sends the attributes of a record; returns whether it could.
        instead: the handler that was there.
    """

    def __init__(
        self, send: Callable[[dict[str, Any]], bool], instead: logging.Handler | None
    ) -> None:
        super().__init__()
        self._send = send
        self._instead = instead

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record.

        Args:
            record: the record.
        """
        if self._is_handled(logging.getLogger(record.name)):
            return
        fields = dict(vars(record))
        if record.exc_info:
            # A traceback can't travel; its text can, and formatters look for that first.
            fields["exc_text"] = record.exc_text or _formatter.formatException(record.exc_info)
            fields["exc_info"] = None
        if self._send(fields):
            return
        plain = {name: value for name, value in fields.items() if type(value) in _PLAIN}
        if self._send(plain | {"msg": record.getMessage(), "args": None}):
            return
        if self._instead is not None and record.levelno >= self._instead.level:
            self._instead.handle(record)

    def _is_handled(self, logger: logging.Logger | None) -> bool:
        """Tell whether another handler takes what a logger is given."""
        while logger is not None:
            for handler in logger.handlers:
                if handler is not self and type(handler) is not logging.NullHandler:
                    return True
            logger = logger.parent if logger.propagate else None
        return False


_formatter = logging.Formatter()
_PLAIN = (type(None), bool, int, float, str)
