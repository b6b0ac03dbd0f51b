"""Fingerprints, by which contents are told apart."""

from __future__ import annotations

try:
    # Where `hashlib` has it from. That loads OpenSSL as well, which each program that makes a pool
    # would wait for, and keep in memory.
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

__all__ = ["fingerprint"]


def fingerprint(content: bytes | memoryview) -> bytes:
    """Return 16 bytes that no other content has (BLAKE2b, RFC 7693).

    Args:
        content: any bytes.
    """
    return blake2b(content, digest_size=16).digest()
