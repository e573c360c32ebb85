from __future__ import annotations

import contextlib

import hpack
from hypothesis import given
from hypothesis import strategies as st

from tocsin.http2.hpack import CompressionError, Decoder, encode_block
from tocsin.http2.huffman import HuffmanError, decode_huffman, encode_huffman

names = st.one_of(
    st.sampled_from([b":status", b"content-type", b"apns-id", b"x", b"date"]),
    st.binary(min_size=1, max_size=30),
)
fields = st.lists(st.tuples(names, st.binary(max_size=200)), max_size=12)


@given(st.lists(fields, max_size=6), st.booleans())
def test_our_blocks_are_read_by_hpack(
    lists: list[list[tuple[bytes, bytes]]], huffman: bool
) -> None:
    """Any fields, block after block, come out of the other library as they went in."""
    other = hpack.Decoder()
    for one in lists:
        block = encode_block(one, huffman=huffman)
        assert [tuple(f) for f in other.decode(block, raw=True)] == one


@given(
    st.lists(st.tuples(fields, st.none() | st.integers(0, 4096)), max_size=8),
    st.booleans(),
)
def test_blocks_of_hpack_are_read_by_us(
    steps: list[tuple[list[tuple[bytes, bytes]], int | None]], huffman: bool
) -> None:
    """An encoder that uses its table, and resizes it, is followed exactly."""
    encoder = hpack.Encoder()
    decoder = Decoder(list_limit=1 << 20)
    for one, size in steps:
        if size is not None:
            encoder.header_table_size = size
        block = encoder.encode(one, huffman=huffman)
        assert list(decoder.decode(block).fields) == one


@given(st.binary(max_size=300))
def test_strings_survive_huffman(data: bytes) -> None:
    """What is encoded comes back."""
    assert decode_huffman(encode_huffman(data)) == data


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_raise_as_hpack_does(data: bytes) -> None:
    """We accept no Huffman string that has another meaning than its own code."""
    with contextlib.suppress(HuffmanError):
        assert encode_huffman(decode_huffman(data)) == data


@given(st.lists(st.binary(max_size=80), max_size=6))
def test_garbage_blocks_raise_one_error_only(blocks: list[bytes]) -> None:
    """No input makes the decoder raise anything but CompressionError."""
    decoder = Decoder(list_limit=10_000)
    for block in blocks:
        with contextlib.suppress(CompressionError):
            decoder.decode(block)
