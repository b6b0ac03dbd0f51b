"""Why the figures are what they are: one paragraph, chosen by what was measured."""

from typing import NamedTuple

__all__ = ["Conditions", "Timing", "explain"]

# Guessed: below this share of the best possible speed-up a reader wants to know what went wrong,
_DISAPPOINTING = 0.8
# what counts as evidence that the cores were busy with something else,
_STARVED = 0.85
# that the work itself became dearer side by side,
_DEARER = 1.2
# and that it was too short to be worth starting workers.
_SHORT_SECONDS = 1.0


class Timing(NamedTuple):
    """One way's median wall-clock time, processor time of its tasks, and time to start up."""

    seconds: float
    cpu_seconds: float
    startup: float = 0.0

    @property
    def busy(self) -> float:
        """How many cores the tasks kept busy on average."""
        return self.cpu_seconds / self.seconds if self.seconds > 0 else 0.0


class Conditions(NamedTuple):
    """What the run had to work with."""

    workers: int
    cpus: int
    gil: bool
    files: int


def explain(now: Conditions, serial: Timing, threads: Timing, allcores: Timing) -> str:
    """Return the paragraph below the table."""
    thread_gain = _ratio(serial, threads)
    gain = _ratio(serial, allcores)
    best = min(now.workers, now.cpus)
    if best == 1:
        return " ".join(_one_core(now, thread_gain, gain))
    parts = [*_threads(now, threads, thread_gain), *_processes(now, allcores, gain, best)]
    if gain < _DISAPPOINTING * best:
        parts += _disappointing(now, serial, allcores, gain, best)
    return " ".join(parts)


def _one_core(now: Conditions, thread_gain: float, gain: float) -> list[str]:
    why = (
        "This program may use one core only"
        if now.cpus == 1
        else "One worker was asked for, and one worker keeps one core busy"
    )
    parts = [
        f"{why}, so nothing can beat the serial run: what the table shows is the price of threads "
        f"({thread_gain:.2f}x) and of a worker process ({gain:.2f}x) where they have nothing to "
        "offer."
    ]
    if now.cpus > 1:
        parts.append(f"Leave --workers out to see all {now.cpus} cores work.")
    else:
        parts.append(
            "`allcores doctor` tells whether the machine has more and what sets the limit."
        )
    return parts


def _threads(now: Conditions, threads: Timing, gain: float) -> list[str]:
    if now.gil:
        parts = [
            "Threads did not help because Python's global interpreter lock (GIL) lets one thread "
            f"at a time run Python code: the {now.workers} threads took turns and kept "
            f"{_cores(threads.busy)} busy between them."
        ]
        if gain > 1.2:
            parts = [
                f"Threads came out at {gain:.2f}x, more than the global interpreter lock (GIL) "
                "leaves them, as it lets one thread at a time run Python code: the machine was "
                "probably busier during the serial run; --repeat 3 gives steadier figures."
            ]
        return parts
    verb = "helped" if gain > 1.2 else "could have helped but hardly did"
    return [
        f"This Python is free-threaded: it runs without the global interpreter lock, so threads "
        f"{verb} ({gain:.2f}x, {_cores(threads.busy)} busy). They share every object, and pay for "
        "keeping that safe."
    ]


def _processes(now: Conditions, allcores: Timing, gain: float, best: int) -> list[str]:
    own = "its own interpreter, memory and lock" if now.gil else "its own interpreter and memory"
    outcome = (
        f"{gain:.2f} times as fast as serial"
        if gain >= 1
        else f"yet slower than serial ({gain:.2f}x)"
    )
    parts = [
        f"Each of the {now.workers} worker processes of allcores has {own} and waits for nobody: "
        f"together they kept {_cores(allcores.busy)} busy, {outcome}."
    ]
    if now.workers > best:
        parts.append(f"More workers than the {best} cores bring nothing: they take turns.")
    return parts


def _disappointing(
    now: Conditions, serial: Timing, allcores: Timing, gain: float, best: int
) -> list[str]:
    """Say what kept the speed-up well below the number of cores, as far as can be seen."""
    reasons = []
    dearer = allcores.cpu_seconds / serial.cpu_seconds if serial.cpu_seconds > 0 else 1.0
    if serial.seconds < _SHORT_SECONDS:
        reasons.append(
            f"the work was short ({serial.seconds:.2f} s serially), so starting the workers "
            f"({allcores.startup:.2f} s) and ending them weighs much"
        )
    elif now.files < 4 * now.workers:
        reasons.append("there were too few files to keep every worker busy until the end")
    elif allcores.busy < _STARVED * best:
        reasons.append(
            "the workers did not get the cores to themselves: other programs, other tenants of the "
            "machine or a quota took part of them (`allcores doctor` shows the quota)"
        )
    if dearer > _DEARER:
        reasons.append(
            f"the same work took {dearer:.1f} times the processor time when run side by side, as "
            "cores that share a physical core, memory or a power budget slow each other down"
        )
    if not reasons:
        reasons.append("nothing in the figures says why; --repeat 3 gives steadier ones")
    return [f"That is less than {best} cores promise: " + "; and ".join(reasons) + "."]


def _ratio(serial: Timing, other: Timing) -> float:
    return serial.seconds / other.seconds if other.seconds > 0 else 1.0


def _cores(busy: float) -> str:
    return "1.0 core" if f"{busy:.1f}" == "1.0" else f"{busy:.1f} cores"
