"""The processes of a round: who comes, who goes, and whether they get on."""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import socket
import struct
from time import monotonic, monotonic_ns

import leftovers
from allcores import _core, pickling

from tests.soak import ledger as book
from tests.soak.measures import Measures
from tests.soak.nursery import BY_FORK, BY_PROCESS, SPAWN, STARTED, Nursery
from tests.soak.recoveries import Recoveries, Windows
from tests.soak.stations import Seen, Station

PATIENCE_S = 90.0  # nobody got on for so long: that is a hang


class Violation(Exception):
    """A rule was broken; says which."""


class Worker:
    """A process at a station's seat."""

    def __init__(self, row: book.Row, station: Station, seat: int, how: int) -> None:
        self.seen = Seen(row, station.seats[seat])
        self.row, self.station, self.seat, self.how = row, station, seat, how
        self.pid = 0
        self.pidfd = -1
        self.orphan = False
        self.kill_at_birth = False
        self.stopped_until: float | None = None
        self.is_stopped = False

    def __repr__(self) -> str:
        words = self.row.words[: book.EXTRA + 4].tolist()
        return f"row {self.row.index}, pid {self.pid}, {self.seen.seat} at {self.station}: {words}"


class Company:
    """The nursery, the workers and their rows. `kill` and `ending` are the judge's."""

    def __init__(
        self, stations: list[Station], dice: random.Random, measures: Measures, complaints: int
    ) -> None:
        self.dice = dice
        self.measures = measures
        self.complaints = complaints
        self.ledger = book.Ledger(len(stations), complaints)
        self.stations = stations
        for i, station in enumerate(stations):
            station.index, station.ledger = i, self.ledger
            station.words = self.ledger.station(i)
        self.seen: list[Seen] = []
        self.of: dict[Station, list[Seen]] = {station: [] for station in stations}
        self.living: dict[Station, list[Seen]] = {station: [] for station in stations}
        self.workers: dict[int, Worker] = {}  # by pidfd
        self.starting: dict[int, Worker] = {}  # by row
        self.nursery_pid = 0
        self.nursery_fd = -1
        self.sock: socket.socket | None = None
        self.lifeline = os.pipe()
        self.poll = select.poll()
        self.next_row = 1
        self.kills = 0
        self.deaths = 0
        self.ending = 0
        self.made = False
        # In one round of two the workers pause, so that there is a processor for who recovers.
        self.load = dice.choice(["busy", "paced"])
        for station in stations:
            station.pause_s = 0.006 if self.load == "paced" else 0.0
        self.recoveries = Recoveries(self.living, measures, self.load)
        self.windows = Windows(self.living, measures, self.load)
        self.watch_at = 0.0
        # All children by fork alone, and nobody who watches them, in one round of four.
        self.watched = dice.randrange(4) > 0

    # Processes come.

    def open_nursery(self) -> None:
        """Fork the process that forks the workers."""
        mine, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                mine.close()
                os.close(self.lifeline[1])
                for fd in self.workers:
                    os.close(fd)
                nursery = Nursery(self.ledger, self.stations, theirs, self.lifeline[0])
                nursery.run(self.made)
                _core.leave()
                code = 0
            except BaseException as error:
                self.ledger.complain(f"the nursery: {error!r}")
            finally:
                os._exit(code)
        theirs.close()
        self.sock, self.nursery_pid = mine, pid
        self.nursery_fd = os.pidfd_open(pid)
        if not self.made:
            size = struct.unpack("Q", mine.recv(8, socket.MSG_WAITALL))[0]
            data = mine.recv(size, socket.MSG_WAITALL)
            for station, shared in zip(self.stations, pickling.loads(data), strict=True):
                station.shared = shared
            self.made = True
        self.poll.register(self.nursery_fd, select.POLLIN)
        self.poll.register(mine, select.POLLIN)

    def start(self, station: Station, seat: int) -> None:
        """Have a worker forked for this seat."""
        how = BY_PROCESS if self.watched else BY_FORK
        if self.next_row >= book.ROWS // 2:
            raise Violation("the ledger is full: too many processes for one round")
        worker = Worker(self.ledger.row(self.next_row), station, seat, how)
        worker.kill_at_birth = not self.ending and self.dice.random() < 0.04
        self.next_row += 1
        self.starting[worker.row.index] = worker
        self.seen.append(worker.seen)
        self.of[station].append(worker.seen)
        self.living[station].append(worker.seen)
        command = SPAWN.pack(
            worker.row.index, station.index, seat, how, self.dice.randrange(1 << 32)
        )
        try:
            assert self.sock is not None
            self.sock.sendall(command)
        except OSError:
            pass  # the nursery is dead: `nursery_died` comes to it

    def started(self, worker: Worker, pid: int) -> None:
        del self.starting[worker.row.index]
        worker.pid = pid
        try:
            worker.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self.left(worker)
            return
        self.workers[worker.pidfd] = worker
        self.poll.register(worker.pidfd, select.POLLIN)
        if worker.kill_at_birth and not self.ending:
            self.measures.counts["kills at birth"] += self.kill(worker)

    # Processes go.

    def nursery_died(self) -> None:
        assert self.sock is not None
        self.read_replies()
        self.poll.unregister(self.nursery_fd)
        with contextlib.suppress(KeyError):
            self.poll.unregister(self.sock)
        self.sock.close()
        os.close(self.nursery_fd)
        for worker in (*self.starting.values(), *self.workers.values()):
            worker.orphan = True
        self.reap()
        if self.ending < 3:
            self.open_nursery()

    def look_for_orphans(self) -> None:
        """Find the workers that a nursery was forking when it died."""
        lost = [worker for worker in self.starting.values() if worker.orphan]
        if not lost:
            return
        # Each says soon what it is. One that a worker forked may stay until the lost have come
        # back, so they must not wait for it.
        unknown = self.unknown_children() - self.forked_by_workers()
        for worker in lost:
            if pid := worker.row.words[book.PID]:
                self.started(worker, pid)
            elif not unknown:
                del self.starting[worker.row.index]
                self.measures.counts["workers that were never born"] += 1
                self.left(worker)

    def unknown_children(self) -> set[int]:
        """Children of this process that are neither workers nor the nursery, and not dead."""
        self.reap()
        known = {worker.pid for worker in self.workers.values()} | {self.nursery_pid}
        return leftovers.children() - known

    def forked_by_workers(self) -> set[int]:
        """Children that workers forked themselves; whoever forks one has one at a time."""
        rows = (self.ledger.row(seen.index + book.ROWS // 2) for seen in self.seen)
        return {row.words[book.PID] for row in rows}

    def reap(self) -> None:
        """Wait for orphans that have ended; a nursery's children are its own to wait for."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                code = os.waitstatus_to_exitcode(ended[1])
                # A daemon whose parent is gone before its first step ends with 1; other
                # failures of workers are complained of by themselves.
                if code not in (0, 1, -signal.SIGKILL):
                    self.ledger.complain(f"the orphan {ended[0]} ended with exit code {code}")

    def died(self, pidfd: int) -> None:
        worker = self.workers.pop(pidfd)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        if worker.seen.killed_at is None and worker.row.words[book.STATE] != book.ENDED:
            self.ledger.complain(f"a worker died by itself: {worker}")
        self.left(worker)

    def left(self, worker: Worker) -> None:
        """A seat is free: somebody else has to take it, unless it is the end."""
        self.deaths += 1
        if worker.seen in self.living[worker.station]:
            self.living[worker.station].remove(worker.seen)
        if self.ending < (2 if worker.seen.seat in worker.station.late else 1):
            self.start(worker.station, worker.seat)

    # What the judge does all the time.

    def read_replies(self) -> None:
        assert self.sock is not None
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while reply := self.sock.recv(STARTED.size, socket.MSG_DONTWAIT):
                row, pid = STARTED.unpack(reply)
                self.started(self.starting[row], pid)

    def tick(self, until: float) -> None:
        """Take note of what happens, until something does or the time is over."""
        wait = min(until - monotonic(), 0.001 if self.recoveries or self.windows else 0.01)
        for fd, _ in self.poll.poll(max(wait, 0) * 1000):
            if fd in self.workers:
                self.died(fd)
            elif fd == self.nursery_fd:
                self.nursery_died()
            elif self.sock is not None and fd == self.sock.fileno():
                self.read_replies()
                if not leftovers.is_zombie(self.nursery_pid):
                    continue
                self.poll.unregister(self.sock)
        self.look_for_orphans()
        self.recoveries.look(monotonic_ns())
        now = monotonic()
        for worker in list(self.workers.values()):
            if worker.stopped_until is not None and now > worker.stopped_until:
                self.resume(worker)
        self.watch()

    def watch(self) -> None:
        """Fail when nobody gets on at some station: somebody waits for ever there."""
        if monotonic() < self.watch_at:
            return
        self.watch_at = monotonic() + 1
        # For the case that the judge itself waits for ever.
        signal.alarm(int(2 * PATIENCE_S))
        if self.ending:
            # Who still works is to end soon, and at each station one after the other does.
            rows = {s: [w.seen for w in self.to_end(self.ending, s)] for s in self.stations}
        else:
            rows = self.living
        if stuck := self.recoveries.stuck(rows, PATIENCE_S):
            raise Violation(f"nobody at {stuck} got on for {PATIENCE_S:g} s")

    def send(self, worker: Worker, number: int) -> bool:
        try:
            signal.pidfd_send_signal(worker.pidfd, number)
        except ProcessLookupError:
            return False
        return True

    def kill(self, worker: Worker) -> bool:
        """Kill a worker that isn't dead; whether it was not."""
        raise NotImplementedError

    def resume(self, worker: Worker) -> None:
        self.windows.end(worker.seen, worker.station, worker.is_stopped)
        worker.stopped_until = None
        self.send(worker, signal.SIGCONT)
