"""Named shared memory: ``multiprocessing.shared_memory``.

The module is the standard library's own object under this name, so that its state is one. Before
Python 3.13 it is one of its own, for `SharedMemory` to take the argument `track`; all else there,
reading and setting it, is the standard library's still.
"""

from __future__ import annotations

import multiprocessing.shared_memory as _std
import sys
import types
from typing import Any

if sys.version_info >= (3, 13):
    sys.modules[__name__] = _std
else:
    import _posixshmem  # type: ignore[import-not-found,unused-ignore]
    import mmap as _mmap
    import os as _os
    from multiprocessing.shared_memory import ShareableList

    __all__ = ["ShareableList", "SharedMemory"]

    class SharedMemory(_std.SharedMemory):
        """A block of shared memory that other processes find by its name.

        Args:
            name: what it is called; None makes one up for a new block.
            create: whether to make a new block rather than attach to one that is there.
            size: bytes of a new block.
            track: whether the block is unlinked when this program has ended, however that
                happens. False leaves that to whoever calls `unlink`: for a block that
                belongs to another program.

        Raises:
            FileExistsError: there is a block of that name already.
            FileNotFoundError: there is none.
            ValueError: a negative size, or a new block without one.
        """

        _track = True

        def __init__(
            self,
            name: str | None = None,
            create: bool = False,
            size: int = 0,
            *,
            track: bool = True,
        ) -> None:
            if track:
                super().__init__(name, create, size)
            else:
                self._track = False
                self._open(name, create, size)

        def _open(self, name: str | None, create: bool, size: int) -> None:
            """Do what the standard library's `__init__` does, and tell the tracker nothing.

            Telling it and taking that back would take back what another object has told it of a
            block of the same name.
            """
            block: Any = self
            if size < 0 or (create and size == 0):
                raise ValueError(f"a new block's size must be positive, not {size!r}")
            if name is None and not create:
                raise ValueError("name can only be None if create=True: whose block is meant?")
            flags = _os.O_RDWR | (_os.O_CREAT | _os.O_EXCL if create else 0)
            while True:
                path = _std._make_filename() if name is None else f"/{name}"  # type: ignore[attr-defined]
                try:
                    block._fd = _posixshmem.shm_open(path, flags, mode=0o600)
                    break
                except FileExistsError:
                    if name is not None:
                        raise
            block._name = path
            try:
                if create:
                    _os.ftruncate(block._fd, size)
                block._size = _os.fstat(block._fd).st_size
                block._mmap = _mmap.mmap(block._fd, block._size)
            except OSError:
                if create:
                    self.unlink()
                raise
            block._buf = memoryview(block._mmap)

        def unlink(self) -> None:
            """Have the block destroyed once nobody has it open any more; to be called once."""
            if self._track:
                super().unlink()
            else:
                _posixshmem.shm_unlink(self._name)  # type: ignore[attr-defined]

    class _Module(types.ModuleType):
        """This module, as far as it is not the standard library's."""

        def __getattr__(self, name: str) -> Any:
            return getattr(_std, name)

        def __setattr__(self, name: str, value: Any) -> None:
            if name in vars(self):
                super().__setattr__(name, value)
            else:
                setattr(_std, name, value)

        def __delattr__(self, name: str) -> None:
            if name in vars(self):
                super().__delattr__(name)
            else:
                delattr(_std, name)

        def __dir__(self) -> list[str]:
            return sorted({*vars(self), *dir(_std)})

    sys.modules[__name__].__class__ = _Module
