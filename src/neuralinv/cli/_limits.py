"""The largest numbers that options take: beyond them torch fails in words of its own."""

from __future__ import annotations

LARGEST_SEED = 2**63 - 1
LARGEST_SIZE = 1 << 20
"""n: one such matrix would take 8 TB."""
LARGEST_COUNT = 1 << 40
