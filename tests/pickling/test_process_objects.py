"""A process object can't be sent, and the error keeps the secret that is in it."""

from __future__ import annotations

import allcores as mp
import pytest
from allcores.errors import NotPicklable


def test_the_message_does_not_show_the_key() -> None:
    process = mp.Process(target=len)
    with pytest.raises(NotPicklable, match="pass its pid or its name") as caught:
        mp.Queue().put([process])
    key = bytes(mp.current_process().authkey)
    assert repr(key)[2:12] not in str(caught.value)
