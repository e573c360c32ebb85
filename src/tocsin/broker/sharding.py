"""Which of several Redis servers a channel lives on. Pure; part of the broker room.

FNV-1a and jump consistent hash, as published: adding a server moves only the
channels that it takes.
"""

from __future__ import annotations

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MASK = (1 << 64) - 1


def find_shard(channel: str, count: int) -> int:
    """The number of the channel's server, from 0."""
    if count == 1:
        return 0
    key = _FNV_OFFSET
    for byte in channel.encode():
        key = ((key ^ byte) * _FNV_PRIME) & _MASK
    bucket, jump = -1, 0
    while jump < count:
        bucket = jump
        key = (key * 2862933555777941757 + 1) & _MASK
        jump = int((bucket + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return bucket
