"""A Redis server for one measurement."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 10.0


@contextmanager
def redis_server() -> Iterator[str]:
    """The path of its socket. It keeps everything in memory, and ends with the block.

    Raises:
        RuntimeError: there is none beside this Python nor on the PATH, or it does not start.
    """
    beside = Path(sys.executable).with_name("redis-server")
    program = str(beside) if beside.exists() else shutil.which("redis-server")
    if program is None:
        raise RuntimeError("there is no redis-server")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis.sock"
        options = ["--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""]
        server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
        try:
            _wait_for(server, path)
            yield path
        finally:
            server.terminate()
            server.wait()


def _wait_for(server: subprocess.Popen[bytes], path: str) -> None:
    patience = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < patience:
        with socket.socket(socket.AF_UNIX) as client:
            if client.connect_ex(path) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError("redis-server did not start")
