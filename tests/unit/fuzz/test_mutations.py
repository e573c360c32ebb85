from __future__ import annotations

import random

from tests.fuzz.mutations import CHANGES, Mutator, stretch


def test_a_seed_repeats_its_inputs() -> None:
    """A finding is found again with the seed that is printed."""

    def run(seed: int) -> list[bytes]:
        mutator = Mutator(seed, (b"word",), 100)
        return [mutator.mutate(b"one input", b"another") for _ in range(50)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_an_input_is_never_too_long() -> None:
    """Whatever is put in, nested or repeated."""
    mutator = Mutator(3, (b"x" * 90,), 100)
    made = [mutator.mutate(b"y" * 80, b"z" * 80) for _ in range(500)]
    assert max(map(len, made)) == 100


def test_every_change_takes_an_empty_input() -> None:
    """The corpus may be empty."""
    chance = random.Random(1)
    for change in CHANGES:
        for _ in range(20):
            change(chance, bytearray())


def test_a_stretched_input_is_as_long_as_it_may_be() -> None:
    """So that a cost that grows with the square of a length is seen."""
    chance = random.Random(1)
    data = bytearray(b"abc")
    while len(data) == 3:  # nothing was chosen
        stretch(chance, data, 1000)
    assert len(data) > 900
