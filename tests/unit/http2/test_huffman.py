from __future__ import annotations

import pytest

from tocsin.http2.huffman import (
    HuffmanError,
    decode_huffman,
    encode_huffman,
    encoded_length,
)


def test_the_code_of_the_specification() -> None:
    """The example strings of RFC 7541 C.4 have the codes printed there."""
    for text, code in [
        (b"www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
        (b"no-cache", "a8eb10649cbf"),
        (b"custom-key", "25a849e95ba97d7f"),
        (b"custom-value", "25a849e95bb8e8b4bf"),
    ]:
        assert encode_huffman(text).hex() == code
        assert decode_huffman(bytes.fromhex(code)) == text


def test_every_byte_survives() -> None:
    """Each of the 256 bytes comes back from its code, alone and among others."""
    for symbol in range(256):
        data = bytes([symbol])
        assert decode_huffman(encode_huffman(data)) == data
    everything = bytes(range(256))
    assert decode_huffman(encode_huffman(everything)) == everything
    assert encoded_length(everything) == len(encode_huffman(everything))


@pytest.mark.parametrize(
    "code",
    [
        "ffffffff",  # the end-of-string symbol
        "1fff",  # 'a', then eleven ones of padding
        "18",  # 'a' padded with zeros
    ],
)
def test_wrong_codes_are_refused(code: str) -> None:
    """An end-of-string symbol and padding that is wrong raise an error."""
    with pytest.raises(HuffmanError):
        decode_huffman(bytes.fromhex(code))


def test_long_texts_are_coded_as_short_ones() -> None:
    """Pieces are joined at any bit."""
    for size in (129, 130, 131, 500, 5000):
        data = bytes(number * 7 % 256 for number in range(size))
        assert decode_huffman(encode_huffman(data)) == data
        assert len(encode_huffman(data)) == encoded_length(data)
