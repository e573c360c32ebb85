"""The Huffman code of HPACK (RFC 7541 §5.2), for the HTTP/2 room.

Pure functions over bytes; nothing here knows header fields or frames.
"""

from __future__ import annotations

from functools import cache

_EOS = 256
_MOST_BITS = 1024
"""Gathered in one number by the encoder before they become bytes."""

# The code of appendix B is canonical: codes are counted upward, first by length, then
# by symbol. So the symbols of each length are enough to compute all codes.
_SYMBOLS: dict[int, bytes] = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\x00$@[]~",
    14: b"^}",
    15: b"<`{",
    19: bytes.fromhex("5cc3d0"),
    20: bytes.fromhex("808283a2b8c2e0e2"),
    21: bytes.fromhex("99a1a7acb0b1b3d1d8d9e3e5e6"),
    22: bytes.fromhex("8184858688929a9ca0a3a4a9aaadb2b5b9babbbdbec4c6e4e8e9"),
    23: bytes.fromhex("0187898a8b8c8d8f93959697989b9d9ea5a6a8aeafb4b6b7bcbfc5e7ef"),
    24: bytes.fromhex("098e9091949fabced7e1eced"),
    25: bytes.fromhex("c7cfeaeb"),
    26: bytes.fromhex("c0c1c8c9cacdd2d5dadbeef0f2f3ff"),
    27: bytes.fromhex("cbccd3d4d6dddedff1f4f5f6f7f8fafbfcfdfe"),
    28: bytes.fromhex("020304050607080b0c0e0f1011121314151718191a1b1c1d1e1f7fdcf9"),
    30: bytes.fromhex("0a0d16"),  # and, last of all, the end-of-string symbol
}


class HuffmanError(ValueError):
    """The bytes are no Huffman-coded string."""


def _codes() -> list[tuple[int, int]]:
    """(code, length in bits) by symbol, the end-of-string symbol last."""
    codes = [(0, 0)] * 257
    code = 0
    previous = 5
    for length, symbols in _SYMBOLS.items():
        code <<= length - previous
        previous = length
        for symbol in symbols:
            codes[symbol] = (code, length)
            code += 1
    codes[_EOS] = (code, previous)
    return codes


_CODES = _codes()


def encoded_length(data: bytes) -> int:
    """How many bytes `encode_huffman` makes of the data."""
    codes = _CODES
    return (sum([codes[symbol][1] for symbol in data]) + 7) // 8


def encode_huffman(data: bytes) -> bytes:
    """The Huffman code of the data, padded with ones to a whole byte."""
    out = bytearray()
    bits = 0
    count = 0
    codes = _CODES
    for symbol in data:
        code, length = codes[symbol]
        bits = bits << length | code
        count += length
        # Now and then: each shift of a number costs as much as the number is long.
        if count > _MOST_BITS:
            rest = count & 7
            out += (bits >> rest).to_bytes(count >> 3, "big")
            bits &= (1 << rest) - 1
            count = rest
    padding = -count % 8
    bits = bits << padding | (1 << padding) - 1
    return bytes(out) + bits.to_bytes((count + padding) // 8, "big")


# A step of the decoder: (next state, symbols completed by this byte). A state is a
# node of the code tree, numbered; `_ENDS` holds the states in which a string may end:
# the root, and those reached from it by one to seven ones, which is padding.
_Step = tuple[int, bytes]


@cache
def _tree() -> tuple[list[list[int]], frozenset[int]]:
    """The code tree: children of each node (negative: symbol + 1), and the ends."""
    nodes: list[list[int]] = [[0, 0]]
    for symbol, (code, length) in enumerate(_CODES):
        at = 0
        for shift in range(length - 1, 0, -1):
            bit = code >> shift & 1
            if not nodes[at][bit]:
                nodes.append([0, 0])
                nodes[at][bit] = len(nodes) - 1
            at = nodes[at][bit]
        nodes[at][code & 1] = -symbol - 1
    ends = [0]
    for _ in range(7):
        ends.append(nodes[ends[-1]][1])
    return nodes, frozenset(ends)


@cache
def _steps(state: int) -> list[_Step | None]:
    """What each byte does in the state; made when the state is first met."""
    nodes, _ = _tree()
    steps: list[_Step | None] = []
    for byte in range(256):
        at = state
        symbols = bytearray()
        for shift in range(7, -1, -1):
            at = nodes[at][byte >> shift & 1]
            if at < 0:
                if at == -_EOS - 1:
                    break
                symbols.append(-at - 1)
                at = 0
        steps.append((at, bytes(symbols)) if at >= 0 else None)
    return steps


def decode_huffman(data: bytes) -> bytes:
    """The string behind the code.

    Raises `HuffmanError` when the end-of-string symbol is inside, or the padding is
    not one to seven ones.
    """
    state = 0
    out = []
    for byte in data:
        step = _steps(state)[byte]
        if step is None:
            raise HuffmanError("the end-of-string symbol is inside a string")
        state, symbols = step
        out.append(symbols)
    if state not in _tree()[1]:
        raise HuffmanError("the padding is not made of ones, or too long")
    return b"".join(out)
