"""An object has one key, whoever asks for it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from allcores.launch import names


def test_threads_that_ask_at_the_same_time_get_the_same_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Asked:
        pass

    known = names.known_key
    first = threading.Event()
    keys: list[Any] = []
    other = threading.Thread(target=lambda: keys.append(names.key_of(Asked)))

    def slowly(obj: Any) -> Any:
        found = known(obj)
        if not first.is_set():
            # Another thread comes in between, and is done where nothing holds it up.
            first.set()
            other.start()
            other.join(5.0)
        return found

    monkeypatch.setattr(names, "known_key", slowly)
    keys.append(names.key_of(Asked))
    other.join()
    assert keys[0] == keys[1] == known(Asked)
