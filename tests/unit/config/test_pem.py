import base64
from pathlib import Path

import pytest
from pydantic import SecretStr

from tocsin.config import PemError, load_pem

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"


def test_pem_text_is_taken_as_it_is() -> None:
    """Text that begins as PEM is PEM."""
    assert load_pem(f"\n{PEM}\n") == PEM.encode() + b"\n"


def test_escaped_line_ends_become_real_ones() -> None:
    r"""A variable with `\n` as two characters is read as lines."""
    assert load_pem(PEM.replace("\n", "\\n")) == PEM.encode() + b"\n"


def test_base64_of_pem_is_decoded() -> None:
    """Base64, also with line breaks, stands for the PEM inside."""
    encoded = base64.encodebytes(PEM.encode()).decode()
    assert load_pem(SecretStr(encoded)) == PEM.encode() + b"\n"


def test_a_path_is_read(tmp_path: Path) -> None:
    """Anything else is a path."""
    file = tmp_path / "cert.pem"
    file.write_text("comment before\n" + PEM)
    assert load_pem(str(file)) == PEM.encode() + b"\n"


@pytest.mark.parametrize(
    "bad", ["", "c2VjcmV0LXZhbHVl", "no/such/file.pem", "a\0b", "x" * 5000]
)
def test_an_unusable_value_is_an_error_that_does_not_quote_it(bad: str) -> None:
    """What fails to parse may be a private key, so the error leaves it out."""
    with pytest.raises(PemError) as caught:
        load_pem(bad)
    assert not bad or bad not in str(caught.value)


def test_a_file_without_pem_is_an_error(tmp_path: Path) -> None:
    """A wrong file is noticed before TLS starts."""
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    with pytest.raises(PemError, match="holds no PEM"):
        load_pem(str(file))
