"""Fossil deltas: the change between two payloads. Part of `protocol`: pure.

It must not know publications. A delta is the new size, then commands that copy a
range of the old bytes (`size@offset,`) or insert new ones (`size:bytes`), then a
checksum of the new bytes (`sum;`); numbers are written in base 64.
"""

from __future__ import annotations

import struct

_DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_BLOCK = 16  # bytes; only ranges with a whole aligned block of the old are found
# Above this many bytes of difference, searching costs more than it saves.
_SEARCH_LIMIT = 65_536


class BadDelta(ValueError):
    """Bytes that are not a delta, or a delta to other old bytes."""


def _number(value: int) -> bytes:
    if value == 0:
        return b"0"
    out = bytearray()
    while value:
        out.append(_DIGITS[value & 63])
        value >>= 6
    out.reverse()
    return bytes(out)


def _checksum(data: bytes) -> int:
    # As Fossil defines it: the sum of big-endian 32-bit words, padded with zeros.
    padded = data + b"\0" * (-len(data) % 4)
    words: tuple[int, ...] = struct.unpack(f">{len(padded) // 4}I", padded)
    return sum(words) & 0xFFFFFFFF


def _same_after(a: bytes, a_at: int, b: bytes, b_at: int) -> int:
    """How many bytes are the same from these places on."""
    # A binary search over comparisons of slices, which run in C; a loop over single
    # bytes would run in Python.
    low, high = 0, min(len(a) - a_at, len(b) - b_at) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if a[a_at + low : a_at + middle] == b[b_at + low : b_at + middle]:
            low = middle
        else:
            high = middle
    return low


def _same_before(a: bytes, a_at: int, b: bytes, b_at: int, limit: int) -> int:
    """How many bytes are the same before these places, `limit` at most."""
    low, high = 0, limit + 1
    while high - low > 1:
        middle = (low + high) // 2
        if a[a_at - middle : a_at - low] == b[b_at - middle : b_at - low]:
            low = middle
        else:
            high = middle
    return low


class _Writer:
    """Collects commands, joining neighbours."""

    __slots__ = ("_copy", "_parts")

    def __init__(self, size: int) -> None:
        self._parts = [_number(size), b"\n"]
        self._copy = (0, 0)

    def copy(self, size: int, offset: int) -> None:
        if not size:
            return
        before_size, before_offset = self._copy
        if before_size and before_offset + before_size == offset:
            self._copy = (before_size + size, before_offset)
            return
        self._flush()
        self._copy = (size, offset)

    def insert(self, data: bytes) -> None:
        if data:
            self._flush()
            self._parts += (_number(len(data)), b":", data)

    def _flush(self) -> None:
        size, offset = self._copy
        if size:
            self._parts += (_number(size), b"@", _number(offset), b",")
            self._copy = (0, 0)

    def finish(self, checksum: int) -> bytes:
        self._flush()
        self._parts += (_number(checksum), b";")
        return b"".join(self._parts)


def create_delta(old: bytes, new: bytes) -> bytes:
    """A delta that `apply_delta` turns back into `new`, given `old`.

    It may be longer than `new`: the caller compares.
    """
    writer = _Writer(len(new))
    # What is the same at both ends needs no search.
    prefix = _same_after(old, 0, new, 0)
    rest = min(len(old), len(new)) - prefix
    suffix = _same_before(old, len(old), new, len(new), rest)
    writer.copy(prefix, 0)
    middle = new[prefix : len(new) - suffix]
    if _BLOCK <= len(middle) <= _SEARCH_LIMIT and len(old) >= _BLOCK:
        _write_middle(writer, old, middle)
    else:
        writer.insert(middle)
    writer.copy(suffix, len(old) - suffix)
    return writer.finish(_checksum(new))


def _write_middle(writer: _Writer, old: bytes, new: bytes) -> None:
    # Blocks of the old bytes by content; a hit is extended to both sides.
    blocks: dict[bytes, int] = {}
    for offset in range(0, len(old) - _BLOCK + 1, _BLOCK):
        blocks.setdefault(old[offset : offset + _BLOCK], offset)
    at = pending = 0
    while at + _BLOCK <= len(new):
        offset = blocks.get(new[at : at + _BLOCK], -1)
        if offset < 0:
            at += 1
            continue
        back = _same_before(old, offset, new, at, min(offset, at - pending))
        size = _same_after(old, offset, new, at)
        writer.insert(new[pending : at - back])
        writer.copy(size + back, offset - back)
        at = pending = at + size
    writer.insert(new[pending:])


class _Reader:
    """Walks over a delta."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self) -> int:
        value, start = 0, self._at
        while self._at < len(self._data) and self._data[self._at] in _VALUES:
            value = value << 6 | _VALUES[self._data[self._at]]
            self._at += 1
        if self._at == start or value > 0xFFFFFFFF:
            raise BadDelta("number expected")
        return value

    def take(self, size: int) -> bytes:
        data = self._data[self._at : self._at + size]
        if len(data) != size:
            raise BadDelta("cut off")
        self._at += size
        return data

    @property
    def is_done(self) -> bool:
        return self._at == len(self._data)


def apply_delta(old: bytes, delta: bytes) -> bytes:
    """The new bytes; raises `BadDelta`."""
    reader = _Reader(delta)
    size = reader.number()
    if reader.take(1) != b"\n":
        raise BadDelta("size is not followed by a line break")
    parts: list[bytes] = []
    total = 0
    while True:
        count = reader.number()
        command = reader.take(1)
        if command == b";":
            break
        part = _part(reader, command, count, old)
        total += len(part)
        if total > size:
            raise BadDelta("more bytes than announced")
        parts.append(part)
    new = b"".join(parts)
    if total != size or not reader.is_done or _checksum(new) != count:
        raise BadDelta("made of other bytes")
    return new


def _part(reader: _Reader, command: bytes, count: int, old: bytes) -> bytes:
    if command == b":":
        return reader.take(count)
    if command != b"@":
        raise BadDelta("unknown command")
    offset = reader.number()
    if reader.take(1) != b"," or offset + count > len(old):
        raise BadDelta("copy reaches beyond the old bytes")
    return old[offset : offset + count]
