"""The process that makes the structures and forks the workers; killed like everybody else."""

from __future__ import annotations

import faulthandler
import fcntl
import os
import random
import signal
import socket
import struct
import sys
import traceback
from typing import Any

import allcores as mp
from allcores import _core, errors, pickling

from tests.soak import ledger as book
from tests.soak.stations import Station

SPAWN = struct.Struct("HHHHI")  # row, station, seat, how, seed
STARTED = struct.Struct("Hi")  # row, pid
BY_PROCESS, BY_FORK = 0, 1


def end_with_the_judge(lifeline: int) -> None:
    """Have the kernel end this process when the judge, who has the pipe's other end, does."""
    own = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | fcntl.FASYNC)


class Nursery:
    """In its own process: does what the judge writes on the socket."""

    def __init__(
        self, ledger: book.Ledger, stations: list[Station], sock: socket.socket, lifeline: int
    ) -> None:
        self.ledger = ledger
        self.stations = stations
        self.sock = sock
        self.lifeline = lifeline
        self.context = mp.get_context("fork")
        self.pid = os.getpid()
        self.processes: list[tuple[int, Any]] = []
        self.forked: dict[int, int] = {}

    def run(self, made: bool) -> None:
        """Until the judge says that it is enough, by closing the socket."""
        end_with_the_judge(self.lifeline)
        faulthandler.register(signal.SIGUSR1, file=sys.__stderr__, all_threads=False)
        if not made:
            for station in self.stations:
                station.make()
            # Held here until the judge has opened them.
            data = pickling.dumps([station.shared for station in self.stations])
            self.sock.sendall(struct.pack("Q", len(data)) + data)
        while command := self.sock.recv(SPAWN.size, socket.MSG_WAITALL):
            row, station, seat, how, seed = SPAWN.unpack(command)
            self.look_after()
            if how == BY_PROCESS:
                process = self.context.Process(target=self.work, args=(row, station, seat, seed))
                process.start()
                self.processes.append((row, process))
                pid = process.pid
            else:
                pid = os.fork()
                if pid == 0:
                    self.work(row, station, seat, seed)
                    _core.leave()
                    os._exit(0)
                self.forked[pid] = row
            self.sock.sendall(STARTED.pack(row, pid))
        for _, process in self.processes:
            process.join()
        while self.forked:
            pid, status = os.wait()
            self.judge_exit(self.forked.pop(pid, 0), os.waitstatus_to_exitcode(status))
        self.look_after()

    def look_after(self) -> None:
        """Wait for those that have ended, and tell of an end that nobody ordered."""
        for row, process in [p for p in self.processes if p[1].exitcode is not None]:
            self.judge_exit(row, process.exitcode)
            process.close()
            self.processes = [p for p in self.processes if p[1] is not process]
        for pid in list(self.forked):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.forked.pop(pid)

    def judge_exit(self, row: int, code: int) -> None:
        if code not in (0, -signal.SIGKILL):
            self.ledger.complain(f"row {row} ended with exit code {code}")

    def work(self, index: int, station: int, seat: int, seed: int) -> None:
        """A worker's life."""
        row = self.ledger.row(index)
        row.words[book.PID] = os.getpid()
        try:
            self.sock.close()
            end_with_the_judge(self.lifeline)
            # Nobody else has it: gone when what this process held is given back.
            keep = mp.Event()
            _, row.words[book.KEEP_AT], row.words[book.KEEP_GENERATION] = keep.handle()
            self.stations[station].work(seat, row, random.Random(seed))
            row.words[book.STATE] = book.ENDED
        except errors.StaleHandle as error:
            if not row.lost_at_birth(error, self.pid):
                self.complain(row, station, seat)
                raise
        except BaseException:
            self.complain(row, station, seat)
            raise

    def complain(self, row: book.Row, station: int, seat: int) -> None:
        who = f"row {row.index} ({self.stations[station].name}, seat {seat})"
        self.ledger.complain(f"{who}:\n{traceback.format_exc()}")
