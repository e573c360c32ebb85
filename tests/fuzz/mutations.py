"""Changes of inputs, each drawn from a seeded source of chance."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Literal

_EDGES = (0, 1, 2, 0x7E, 0x7F, 0x80, 0xFE, 0xFF)
_BRACKETS = ((b"[", b"]"), (b'{"a":', b"}"), (b'"', b'"'), (b"{", b"}"), (b"(", b")"))

Change = Callable[[random.Random, bytearray], None]


class Mutator:
    """Makes new inputs of old ones.

    `words` are pieces worth putting in. With the same seed and the same calls it makes
    the same inputs.
    """

    def __init__(self, seed: int, words: Sequence[bytes], longest: int) -> None:
        self._chance = random.Random(seed)
        self._words = words
        self._longest = longest

    def mutate(self, one: bytes, other: bytes) -> bytes:
        """A changed copy of `one`, with pieces of `other` now and then."""
        chance = self._chance
        data = bytearray(one)
        if other and chance.randrange(8) == 0:
            splice(chance, data, other)
        # Mostly few changes: the more there are, the less is left that means something.
        for _ in range(1 << chance.randrange(4)):
            if self._words and chance.randrange(4) == 0:
                _put_in(chance, data, chance.choice(self._words))
            else:
                chance.choice(CHANGES)(chance, data)
        if chance.randrange(8) == 0:
            stretch(chance, data, self._longest)
        return bytes(data[: self._longest])


def _place(chance: random.Random, data: bytearray) -> int:
    return chance.randrange(len(data) + 1)


def _range(chance: random.Random, data: bytearray) -> tuple[int, int]:
    at = _place(chance, data)
    longest = chance.choice((1, 4, 16, 64, len(data) + 1))
    return at, min(len(data), at + 1 + chance.randrange(longest))


def _put_in(chance: random.Random, data: bytearray, piece: bytes) -> None:
    at = _place(chance, data)
    over = len(piece) if chance.randrange(2) else 0
    data[at : at + over] = piece


def splice(chance: random.Random, data: bytearray, other: bytes) -> None:
    """Replace the end by the end of another input."""
    data[_place(chance, data) :] = other[chance.randrange(len(other)) :]


def flip_bit(chance: random.Random, data: bytearray) -> None:
    """Change one bit."""
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def set_byte(chance: random.Random, data: bytearray) -> None:
    """Set a byte, often to one at the edge of something."""
    if data:
        value = chance.choice(_EDGES) if chance.randrange(2) else chance.randrange(256)
        data[chance.randrange(len(data))] = value


def insert_bytes(chance: random.Random, data: bytearray) -> None:
    """Put in a few random bytes."""
    _put_in(chance, data, chance.randbytes(1 + chance.randrange(4)))


def remove_range(chance: random.Random, data: bytearray) -> None:
    """Take a range out."""
    at, end = _range(chance, data)
    del data[at:end]


def copy_range(chance: random.Random, data: bytearray) -> None:
    """Put a copy of a range somewhere else."""
    at, end = _range(chance, data)
    _put_in(chance, data, bytes(data[at:end]))


def cut_end(chance: random.Random, data: bytearray) -> None:
    """Cut the end off."""
    del data[_place(chance, data) :]


def lie_of_length(chance: random.Random, data: bytearray) -> None:
    """Change a number of one to four bytes, as lengths are written."""
    width = chance.choice((1, 2, 3, 4))
    if len(data) < width:
        return
    at = chance.randrange(len(data) - width + 1)
    top = (1 << 8 * width) - 1
    order: Literal["big", "little"] = "big" if chance.randrange(2) else "little"
    told = int.from_bytes(data[at : at + width], order)
    lies = (told + 1, told - 1, told * 2, len(data), 0, top, top >> 1, 1 << 31)
    data[at : at + width] = (chance.choice(lies) & top).to_bytes(width, order)


def change_number(chance: random.Random, data: bytearray) -> None:
    """Replace a digit by a number of another size, as texts write it."""
    places = [at for at, byte in enumerate(data[:512]) if 0x30 <= byte <= 0x39]
    if places:
        at = chance.choice(places)
        data[at : at + 1] = chance.choice(
            (b"-1", b"1e400", b"0", b"00", b"9" * 20, b"9" * 5000, b"1.5", b"NaN")
        )


def nest(chance: random.Random, data: bytearray) -> None:
    """Put brackets around a range, once or very often."""
    at, end = _range(chance, data)
    opening, closing = chance.choice(_BRACKETS)
    times = chance.choice((1, 2, 40, 1100))
    data[at:end] = opening * times + bytes(data[at:end]) + closing * times


def stretch(chance: random.Random, data: bytearray, longest: int) -> None:
    """Repeat a range until the input is as long as it may be.

    What takes a time that grows faster than its input shows it here.
    """
    at = _place(chance, data)
    # Mostly one byte: runs of one character are what patterns stumble over.
    end = min(len(data), at + chance.choice((1, 1, 1, 2, 3, 8, 64)))
    if at < end:
        times = 1 + max(0, longest - len(data)) // (end - at)
        data[at:end] = bytes(data[at:end]) * times


CHANGES: tuple[Change, ...] = (
    flip_bit,
    set_byte,
    insert_bytes,
    remove_range,
    copy_range,
    cut_end,
    lie_of_length,
    change_number,
    nest,
)
