from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.support.pastings import PEM_WAYS

from tocsin.config import PemError, load_pem
from tocsin.config.pasted import (
    decode_any_base64,
    find_labels,
    pick_pem,
    read_text,
    tidy_pem,
)

KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
)
LEGACY = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.TraditionalOpenSSL,
    serialization.BestAvailableEncryption(b"secret"),
)


@pytest.mark.parametrize("way", PEM_WAYS)
def test_pem_is_read_however_it_was_pasted(way: str) -> None:
    """What comes out is the file as it once was, to the last byte."""
    assert tidy_pem(PEM_WAYS[way](PEM)) == PEM.decode()


@pytest.mark.parametrize("way", PEM_WAYS)
def test_pem_keys_of_the_configuration_are_read_so_too(way: str) -> None:
    """Certificates of doors, of Redis and of providers come through here."""
    pasted = PEM_WAYS[way](PEM)
    text = pasted.decode("utf-16" if way == "UTF-16" else "utf-8")
    assert load_pem(text) == PEM


def test_every_block_stays_in_its_order() -> None:
    """A certificate, its chain and its key may share a text."""
    texts = [f"-----BEGIN {name}-----\nQUJD\n-----END {name}-----\n" for name in "ABA"]
    assert tidy_pem("  ".join(texts).replace("\n", " ")) == "".join(texts)
    assert find_labels("".join(texts)) == ["A", "B", "A"]
    assert pick_pem("".join(texts), "B") == texts[1]


def test_headers_of_old_encrypted_keys_stay() -> None:
    """Without them nobody could decrypt the key."""
    folded = LEGACY.replace(b"\n", b"\r\n")
    key = serialization.load_pem_private_key(tidy_pem(folded).encode(), b"secret")
    assert isinstance(key, rsa.RSAPrivateKey)


@pytest.mark.parametrize(
    "text",
    ["", "hello", "-----BEGIN X-----\nQUJD", "-----BEGIN X-----QUJD-----END Y-----"],
)
def test_what_is_no_whole_block_is_none(text: str) -> None:
    """Half a key is no key."""
    assert tidy_pem(text) == ""


def test_a_cut_value_is_said_to_be_cut() -> None:
    """The last line is what a selection misses; nothing of the value is quoted."""
    with pytest.raises(PemError, match="cut") as caught:
        load_pem(PEM[:-40].decode())
    assert "MII" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("-_8=", b"\xfb\xff"),
        ("+/8", b"\xfb\xff"),
        (" QU\n JD ", b"ABC"),
        ("QU\\nJD", b"ABC"),
        ("QUJDR", None),
        ("", None),
        ("a/b.pem", None),
    ],
)
def test_base64_in_either_alphabet(text: str, raw: bytes | None) -> None:
    """Folded or not, padded or not."""
    assert decode_any_base64(text) == raw


@pytest.mark.parametrize(
    "raw", [b" 'x' ", b'"x"', b"\xef\xbb\xbfx\n", b"\xff\xfex\x00"]
)
def test_marks_blanks_and_quotes_are_no_part_of_a_text(raw: bytes) -> None:
    """Nor do they have to be removed by hand."""
    assert read_text(raw) == "x"
