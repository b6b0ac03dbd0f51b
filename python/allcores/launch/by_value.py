"""The sending side of travel by value: what another process can't import goes along itself.

A message is one pickle. Where it refers to functions or classes of `__main__`, these are not in
its body but in a *table* in front of it: one entry for each global name of `__main__` that
anything in the message uses, directly or through another entry, with its content pickled on its
own and a fingerprint of that. Functions of `__main__` get the receiver's `__main__` as their
globals, and find there what the table has put there. Recursion and mutual recursion need nothing
special, as the entries refer to each other by key (names.py).

What is defined inside functions, lambdas included, travels in the body. Functions whose globals
belong to an importable module get the receiver's copy of that module.

A global that can't travel is left out, and the receiver told why, in case it is used there: a
function shall not fail for a name that it mentions in a branch never taken.
"""

from __future__ import annotations

import io
import pickle
import sys
from multiprocessing.context import get_spawning_popen
from typing import Any

from allcores import buffers
from allcores.buffers import Refs
from allcores.launch import names, rebuild
from allcores.launch.fingerprint import fingerprint
from allcores.launch.rebuild import DEFINITION, MISSING, VALUE, Entry
from allcores.launch.reduce import Pickler, main_path


class Message:
    """One message in the making.

    Args:
        refs: gets what travels along; None when nobody would keep it until the message arrives.
    """

    def __init__(self, refs: Refs | None) -> None:
        self._refs = refs
        self.entries: dict[str, Entry] = {}
        self._waiting: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}
        # By name of an entry: the definitions without which it can't be unpickled.
        self._bound_to: dict[str, set[str]] = {}

    def dumps(self, obj: Any) -> bytes:
        """Return the message that carries `obj`."""
        body, hard, _ = self._dump(obj, None)
        while self._waiting:
            name, value = self._waiting.popitem()
            self.entries[name] = self._entry(name, value)
        self._spread_errors()
        for name in sorted(hard & self._errors.keys()):
            raise self._errors[name]
        if not self.entries:
            return body
        # Two pickles, made one: the table's end becomes "drop the result", and the body goes on.
        # It takes no memo entries, or the body's would be counted wrong.
        stream = io.BytesIO()
        pickler = pickle.Pickler(stream, pickle.HIGHEST_PROTOCOL)
        pickler.fast = True
        pickler.dump(_Table([tuple(entry) for entry in self.entries.values()]))
        return b"".join((stream.getbuffer()[:-1], pickle.POP, body))

    def need(self, name: str, value: Any) -> None:
        """Put a global of `__main__` into the table."""
        if name not in self.entries and not name.startswith("__"):
            self._waiting.setdefault(name, value)

    def _dump(self, obj: Any, root: str | None) -> tuple[bytes, set[str], dict[str, None]]:
        stream = io.BytesIO()
        large: list[pickle.PickleBuffer] = []
        # A definition is kept as it came, to be sent on: what travels beside would be gone then.
        refs = self._refs if root is None else None
        aside = None if refs is None else buffers.aside(large)
        pickler = Pickler(stream, self, root, aside)
        try:
            pickler.dump(obj)
        except BaseException:
            # The error keeps this frame, and nobody can resize what a buffer is of.
            pickler.clear_memo()
            large.clear()
            raise
        data = stream.getvalue()
        if refs is not None and large:
            data = buffers.enclose(data, large, refs)
        return data, pickler.hard, pickler.soft

    def _entry(self, name: str, value: Any) -> Entry:
        definition = main_path(value) == name
        key = names.key_of(value) if definition else names.known_key(value)
        origin, serial = key or (names.token(), 0)
        if definition and key in rebuild.received:
            # On its way on, or home: as it came.
            entry = rebuild.received[key]
            scope = vars(sys.modules["__main__"])
            for used in entry.needs:
                if used in scope:
                    self.need(used, scope[used])
            return entry
        kind = DEFINITION if definition else VALUE
        try:
            blob, hard, soft = self._dump(value, name if definition else None)
        except Exception as error:
            self._errors[name] = error
            return Entry(name, MISSING, origin, serial, b"", None, (), why(value, error))
        self._bound_to[name] = hard
        mark = fingerprint(blob)
        return Entry(name, kind, origin, serial, mark, blob, tuple({**soft}), "")

    def _spread_errors(self) -> None:
        """What can't do without something left out is left out too."""
        changed = bool(self._errors)
        while changed:
            changed = False
            for name, hard in self._bound_to.items():
                lost = sorted(hard & self._errors.keys())
                if lost and name not in self._errors:
                    self._errors[name] = self._errors[lost[0]]
                    entry = self.entries[name]
                    reason = f"it needs {lost[0]!r}: {self.entries[lost[0]].reason}"
                    self.entries[name] = entry._replace(kind=MISSING, blob=None, reason=reason)
                    changed = True
        if get_spawning_popen() is not None:
            return  # it is for a fresh interpreter
        for name in list(self._errors):
            entry = self.entries[name]
            if entry.serial and names.had_at_a_fork((entry.origin, entry.serial)):
                # Forked children have it: it travels by name.
                mark = repr((entry.origin, entry.serial)).encode()
                self.entries[name] = entry._replace(kind=DEFINITION, fingerprint=mark)
                del self._errors[name]


class _Table:
    def __init__(self, entries: list[tuple[Any, ...]]) -> None:
        self._entries = entries

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild.open_table, (self._entries,)


def why(value: Any, error: Exception) -> str:
    """Return, in a line, why `value` can't travel."""
    from allcores.launch.culprit import reason

    return reason(value, error)


def dumps(obj: Any, refs: Refs | None = None) -> bytes:
    """Return a message that carries `obj`, functions and classes of `__main__` included.

    Args:
        obj: what to send.
        refs: gets what travels along; None for nothing.
    """
    return Message(refs).dumps(obj)
