"""One round: the judge lets workers use the structures, kills at random, and compares in the end.

The judge has no part in what it judges: it holds the structures, so that they outlive whoever made
them, and touches them in the end only. It sends signals by pidfd, as pids come again.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
from pathlib import Path
from time import monotonic, monotonic_ns, sleep

import leftovers
from allcores import _core

from tests.soak import ledger as book
from tests.soak.company import Company, Violation, Worker
from tests.soak.nursery import BY_PROCESS
from tests.soak.stations import Station
from tests.soak.stations.pools import MOST_WORKERS, WORKERS, Pools

HALVES = (0, book.ROWS // 2)  # of the ledger: the workers, and what they forked themselves


class Round(Company):
    """A set of stations from the first process to the last."""

    def describe(self) -> str:
        """What there is and how it is used, in a line."""
        how = "watched" if self.watched else "forked by os.fork()"
        return f"{self.stations}, {self.load}, {how}"

    # What is done to them.

    def kill(self, worker: Worker) -> bool:
        """Kill a worker that isn't dead; whether it was not."""
        if worker.seen.killed_at is not None or worker.row.words[book.STATE] == book.ENDED:
            return False
        now = monotonic_ns()
        if not self.send(worker, signal.SIGKILL):
            return False
        worker.seen.killed_at = now
        worker.stopped_until = None
        self.living[worker.station].remove(worker.seen)
        self.kills += 1
        self.measures.counts[f"kills: {type(worker.station).__name__}, {worker.seen.seat}"] += 1
        watched = worker.how == BY_PROCESS and not worker.orphan
        self.recoveries.begin(worker.seen, worker.station, now, watched)
        return True

    def kill_nursery(self) -> bool:
        try:
            signal.pidfd_send_signal(self.nursery_fd, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.kills += 1
        return True

    def kill_pool_worker(self, owner: Worker) -> bool:
        """Kill a worker of somebody's pool."""
        pid = owner.row.words[WORKERS + self.dice.randrange(MOST_WORKERS)]
        if not pid:
            return False
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            with open(f"/proc/{pid}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
            if parent != owner.pid:
                return False
            owner.seen.others_killed += 1
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        except (OSError, ProcessLookupError):
            return False
        finally:
            os.close(fd)
        self.kills += 1
        self.recoveries.begin(None, owner.station, monotonic_ns(), False)
        return True

    def stop(self, worker: Worker) -> None:
        """Stop a worker for a while, or only look what happens when it isn't stopped."""
        if worker.stopped_until is not None:
            return
        worker.is_stopped = self.dice.random() < 0.75
        self.windows.begin(worker.seen)
        worker.stopped_until = monotonic() + min(self.dice.expovariate(1 / 0.03), 0.2)
        if worker.is_stopped:
            self.send(worker, signal.SIGSTOP)

    def act(self) -> None:
        """One random event."""
        working = [w for w in self.workers.values() if w.row.words[book.PROGRESS]]
        if not working:
            return
        counts, dice = self.measures.counts, self.dice
        victim = dice.choice(working)
        what = dice.random()
        if what < 0.10:
            self.stop(victim)
        elif what < 0.18:
            counts["kills: pairs at the same time"] += self.kill(victim)
            self.kill(dice.choice(working))
        elif what < 0.195:
            counts["kills: everybody at a station"] += 1
            for worker in working:
                if worker.station is victim.station:
                    self.kill(worker)
        elif what < 0.21:
            counts["kills: the maker, who forks and recovers"] += self.kill_nursery()
        elif what < 0.225:
            # Its supervisor is just recovering the victim.
            self.kill(victim)
            pause = monotonic() + dice.expovariate(1 / 0.001)
            while monotonic() < pause:
                pass
            counts["kills: the recoverer"] += self.kill_nursery()
        elif isinstance(victim.station, Pools) and dice.random() < 0.8:
            counts["kills: workers of a pool"] += self.kill_pool_worker(victim)
        else:
            self.kill(victim)

    # A round's way.

    def run(self, kills: int, rate: float) -> None:
        """Kill so often, at this mean rate a second, then end the round and look."""
        blocks = _core.stats()["live_blocks"]
        try:
            self.open_nursery()
            for station in self.stations:
                for seat in range(len(station.seats)):
                    self.start(station, seat)
            due = monotonic()
            while self.kills < kills and self.next_row < book.ROWS // 2 - 50:
                due += self.dice.expovariate(rate)
                # When the machine can't follow, the events don't pile up.
                due = max(due, monotonic() - 0.1)
                while monotonic() < due:
                    self.tick(due)
                self.act()
            self.end()
            self.settle(blocks)
        except BaseException:
            self.show()
            raise
        finally:
            self.clean_up()

    def end(self) -> None:
        """Nobody is killed any more: each has to come to its end by itself."""
        for worker in self.workers.values():
            if worker.stopped_until is not None:
                self.resume(worker)
        # The seats of the dead are taken once more, and everybody has started.
        while (
            self.starting
            or len(self.workers) < sum(len(s.seats) for s in self.stations)
            or not all(w.row.words[book.PID] for w in self.workers.values())
        ):
            self.tick(monotonic() + 0.01)
        self.recoveries.end()
        for phase in (1, 2):
            self.ending = self.ledger.phase[0] = phase
            while self.starting or self.to_end(phase) or self.unknown_children():
                for station in self.stations:
                    station.nudge(phase, [w.seen.seat for w in self.to_end(2, station)])
                self.tick(monotonic() + 0.01)
        self.ending = 3
        assert self.sock is not None
        self.sock.shutdown(socket.SHUT_WR)
        while not leftovers.is_zombie(self.nursery_pid):
            self.tick(monotonic() + 0.01)
        self.reap()

    def to_end(self, phase: int, only: Station | None = None) -> list[Worker]:
        """Who still has to end in this phase."""
        return [
            w
            for w in self.workers.values()
            if (phase == 2 or w.seen.seat not in w.station.late) and only in (None, w.station)
        ]

    def settle(self, blocks: int) -> None:
        """Look at all that is left."""
        _core.recover()
        found = []
        if (processes := _core.stats()["processes"]) != 1:
            found.append(f"{processes - 1} slots are taken, and nobody is there")
        rows = [self.ledger.row(half + i) for i in range(self.next_row) for half in HALVES]
        lost = sum(row.words[book.BORN_LOST] for row in rows)
        self.measures.counts["born with nothing, the parent killed in the fork"] += lost
        for station in self.stations:
            found += station.close(self.of[station])
            self.measures.counts.update(station.counts)
            for kind, seconds in station.times(self.of[station]):
                self.measures.add(kind, seconds)
            station.shared = None
        gc.collect()
        if (left := _core.stats()["live_blocks"]) != blocks:
            found.append(f"{left} blocks are in use, and {blocks} were before")
        if children := leftovers.children():
            found.append(f"processes are left: {[leftovers.describe(p) for p in children]}")
        self.raise_complaints(found)

    def raise_complaints(self, found: list[str]) -> None:
        size = os.fstat(self.complaints).st_size
        found += os.pread(self.complaints, min(size, 20_000), 0).decode().splitlines()
        if found:
            raise Violation("\n".join(found))

    def show(self) -> None:
        """Say who stands where, with the stacks."""
        print(f"after {self.kills} kills, in the end's phase {self.ending}:", flush=True)
        print(f"the nursery, pid {self.nursery_pid}, {wait_channel(self.nursery_pid)}", flush=True)
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self.nursery_fd, signal.SIGUSR1)
            sleep(0.1)
        for worker in (*self.workers.values(), *self.starting.values()):
            print(f"  {worker} {wait_channel(worker.pid)}", flush=True)
            if worker.pidfd >= 0:
                self.send(worker, signal.SIGCONT)
                self.send(worker, signal.SIGUSR1)
                sleep(0.1)  # its stack comes here
        size = os.fstat(self.complaints).st_size
        print(os.pread(self.complaints, min(size, 20_000), 0).decode(), flush=True)

    def clean_up(self) -> None:
        """End whoever is left, after a failure."""
        signal.alarm(0)
        os.close(self.lifeline[1])  # kills all of them
        os.close(self.lifeline[0])
        for worker in self.workers.values():
            self.send(worker, signal.SIGKILL)
            os.close(worker.pidfd)
        if self.sock is not None:
            self.sock.close()
            if self.ending < 3:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self.nursery_fd, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.close(self.nursery_fd)
        deadline = monotonic() + 10
        while (left := leftovers.children()) and monotonic() < deadline:
            leftovers.reap_adopted(left)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            sleep(0.01)
        os.ftruncate(self.complaints, 0)


def wait_channel(pid: int) -> str:
    """Where in the kernel each thread of a process stands, for people."""
    places = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
            places.append(f"{state} {(task / 'wchan').read_text()}")
    return ", ".join(places) or "gone"
