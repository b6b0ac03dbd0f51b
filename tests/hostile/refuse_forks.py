"""Loaded by a fork server, keeps it from forking."""

import errno

from seccomp import Rule, install

install(
    [Rule("fork"), Rule("vfork"), Rule("clone", 0, mask=0x10000, value=0), Rule("clone3")],
    errno.EPERM,
)
