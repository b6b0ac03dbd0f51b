"""What a fresh child is told about its parent before anything of the user's reaches it."""

from __future__ import annotations

import multiprocessing
import multiprocessing.process as _std_process
import multiprocessing.util as _util
import os
import sys
from typing import Any

from allcores import context
from allcores.launch import main_module, names
from allcores.process import current_process


def get_preparation_data(name: str) -> dict[str, Any]:
    """Return what the child called `name` has to know; plain values only.

    Args:
        name: the child's process name.
    """
    data: dict[str, Any] = {
        "name": name,
        "authkey": bytes(current_process().authkey),
        "log_to_stderr": _util._log_to_stderr,  # type: ignore[attr-defined]
        "sys_path": module_path(),
        "sys_argv": list(sys.argv),
        "orig_dir": _std_process.ORIGINAL_DIR,  # type: ignore[attr-defined]
        "dir": _current_folder(),
        "start_method": context.default_context.get_start_method(),
        "std_start_method": multiprocessing.get_start_method(allow_none=True),
        "main": main_module.describe(),
        "ancestors": names.lineage(),
    }
    replace = sys.modules.get("allcores.run.replace")
    if replace is not None:
        data["replaced"] = replace.describe()
    logger = _util._logger  # type: ignore[attr-defined]
    if logger is not None:
        data["log_level"] = logger.getEffectiveLevel()
    return data


def module_path() -> list[str]:
    """Return where a child looks for modules."""
    original: str | None = _std_process.ORIGINAL_DIR  # type: ignore[attr-defined]
    # An empty entry means the current folder, which may be another one by now.
    return [original if path == "" and original else path for path in sys.path]


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def prepare(data: dict[str, Any]) -> None:
    """Make this process, a child that has just started, what the parent wants it to be."""
    me = current_process()
    me.name = data["name"]
    me.authkey = data["authkey"]
    if "environ" in data and data["environ"] != os.environ.copy():
        os.environ.clear()
        os.environ.update(data["environ"])
    # Before the process object is unpickled: that may load the libraries that read them.
    os.environ.update(data.get("threads", {}))
    if data["log_to_stderr"]:
        _util.log_to_stderr()
    if "log_level" in data:
        _util.get_logger().setLevel(data["log_level"])
    sys.path[:] = data["sys_path"]
    sys.argv = data["sys_argv"]
    if data["dir"] is not None:
        os.chdir(data["dir"])
    _std_process.ORIGINAL_DIR = data["orig_dir"]  # type: ignore[attr-defined]
    replace_multiprocessing(data)
    context.force_start_method(data["start_method"])
    if data["std_start_method"] is not None:
        multiprocessing.set_start_method(data["std_start_method"], force=True)
    main_module.install(data["main"])
    names.descend(data["ancestors"])


def replace_multiprocessing(data: dict[str, Any]) -> None:
    """Do in this process what ``allcores run`` did in its parent, if it did.

    Args:
        data: what the parent told.
    """
    if data.get("replaced") is not None:
        from allcores.run import replace

        replace.install(*data["replaced"])
