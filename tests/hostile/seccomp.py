"""Makes system calls fail, for this process and all that it starts, as sandboxes do.

A rule names a call, perhaps a condition on one of its arguments, and the error that the kernel
answers with instead of making the call. The rules become a filter program for seccomp(2), in the
instructions of classic BPF.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import NamedTuple

# x86-64.
NUMBERS = {
    "mmap": 9,
    "sched_getaffinity": 204,
    "poll": 7,
    "madvise": 28,
    "socketpair": 53,
    "sendmsg": 46,
    "clone": 56,
    "fork": 57,
    "vfork": 58,
    "kill": 62,
    "fcntl": 72,
    "ftruncate": 77,
    "prctl": 157,
    "futex": 202,
    "fallocate": 285,
    "eventfd2": 290,
    "pipe2": 293,
    "getrandom": 318,
    "memfd_create": 319,
    "pidfd_open": 434,
    "clone3": 435,
}

_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_NUMBER, _ARCH, _ARGS = 0, 4, 16  # places in struct seccomp_data
_X86_64 = 0xC000003E
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2


class Rule(NamedTuple):
    """Refuse `call`; with `argument`, only if that argument & `mask` == `value` (32 bits)."""

    call: str
    argument: int | None = None
    mask: int = 0xFFFFFFFF
    value: int = 0


def program(rules: list[Rule], errno: int) -> bytes:
    """Assemble the filter."""
    code = [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, _X86_64), (_RETURN, 0, 0, _ALLOW)]
    for rule in rules:
        refuse = [(_RETURN, 0, 0, _ERRNO | errno)]
        if rule.argument is not None:
            refuse = [
                (_LOAD, 0, 0, _ARGS + 8 * rule.argument),
                (_AND, 0, 0, rule.mask),
                (_EQUAL, 0, 1, rule.value),
                *refuse,
            ]
        code += [(_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, len(refuse), NUMBERS[rule.call]), *refuse]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def install(rules: list[Rule], errno: int) -> None:
    """Refuse from now on what the rules say, in this process and its descendants."""
    code = program(rules, errno)
    buffer = ctypes.create_string_buffer(code)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    filtered = Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    for call in (
        (_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero),
        (_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(filtered), zero, zero),
    ):
        if libc.prctl(*call) != 0:
            code_ = ctypes.get_errno()
            raise OSError(code_, f"seccomp filter refused: {os.strerror(code_)}")
