"""What everybody notes, in memory of its own: never in the arena, which is under test.

A row of words for each process that ever worked in a round. Each word has one writer, the row's
process, and outlives it. A word is stored in one instruction, so what a killed process noted is
what it had come to, in its order.
"""

from __future__ import annotations

import mmap
import os

from allcores import errors

ROWS = 2048  # of a round; the upper half is for children that workers fork themselves
WORDS = 16
LOG = 1 << 13  # entries of a row's log
STATION_WORDS = 16

# The words of a row.
PID, PROGRESS, INTENT, DONE, STATE, LOGGED, KEEP_AT, KEEP_GENERATION = range(8)
EXTRA = 8  # from here on what a role likes
BORN_LOST = 15  # its parent was killed while it was being forked

# The states that matter to the judge; see the roles.
IDLE, INSIDE, ENDED = 0, 1, 99


class Row:
    """One process's words and its log."""

    def __init__(self, ledger: Ledger, index: int) -> None:
        self.index = index
        start = index * WORDS
        self.words = ledger.rows[start : start + WORDS]
        start = index * LOG
        self.log = ledger.logs[start : start + LOG]

    def lost_at_birth(self, error: errors.StaleHandle, parent: int) -> bool:
        """Whether this process has nothing because its parent was killed in the fork; noted."""
        if "while being forked" not in str(error) or os.getppid() == parent:
            return False
        self.words[BORN_LOST] += 1
        self.words[STATE] = ENDED
        return True

    def note(self, value: int) -> bool:
        """Append to the log; False when that was its last entry."""
        at = self.words[LOGGED]
        self.log[at] = value
        self.words[LOGGED] = at + 1
        return at + 1 < LOG

    def logged(self) -> list[int]:
        return self.log[: self.words[LOGGED]].tolist()


class Ledger:
    """The rows of a round, words for each station, and complaints; shared by fork."""

    def __init__(self, stations: int, complaints: int) -> None:
        sizes = [8, 8 * stations * STATION_WORDS, 8 * ROWS * WORDS, 8 * ROWS * LOG]
        self._complaints = complaints
        # Anonymous and shared; only pages that are written cost anything.
        self._memory = mmap.mmap(-1, sum(sizes))
        words = memoryview(self._memory).cast("Q")
        ends = [sum(sizes[: i + 1]) // 8 for i in range(len(sizes))]
        self.phase = words[: ends[0]]
        self.shared = words[ends[0] : ends[1]]
        self.rows = words[ends[1] : ends[2]]
        self.logs = words[ends[2] : ends[3]]

    def row(self, index: int) -> Row:
        return Row(self, index)

    def station(self, index: int) -> memoryview[int]:
        return self.shared[index * STATION_WORDS : (index + 1) * STATION_WORDS]

    def complain(self, text: str) -> None:
        """Note a violation, from whatever process."""
        os.write(self._complaints, (text.strip().replace("\n", "\n    ") + "\n").encode())
