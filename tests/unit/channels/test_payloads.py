import pytest

from tocsin.channels.payloads import decode_payload, find_data_fault
from tocsin.core.errors import BadRequest


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [
        ("", b"plain"),
        ("YQ==", b"a"),
        ("+/8=", b"\xfb\xff"),
        ("YW\r\nJj\n", b"abc"),
    ],
)
def test_base64_that_is_read(encoded: str, decoded: bytes) -> None:
    """The standard alphabet with padding; line ends do not count."""
    assert decode_payload(b"plain", encoded, "b64data") == decoded


@pytest.mark.parametrize("encoded", ["YQ", "YQ=", "-_8=", "Y Q==", "é", "YQ==YQ=="])
def test_base64_that_is_refused(encoded: str) -> None:
    """The fault names the field."""
    with pytest.raises(BadRequest, match="b64info: must be base64"):
        decode_payload(b"plain", encoded, "b64info")


@pytest.mark.parametrize(
    ("format", "good", "bad"),
    [
        ("", [b"x", b"\x00"], [b""]),
        ("binary", [b"", b"\x00"], []),
        (
            "json",
            [b"null", b'"\\ud800"', b"1" + b"0" * 400, b" [] "],
            [b"", b"x", b"{", b"NaN", b"1 2", b"\xff", b"[" * 100_000],
        ),
        ("json_object", [b"{}", b'\t{"a":1}'], [b"", b"[]", b"null", b"{}x"]),
    ],
)
def test_data_formats(format: str, good: list[bytes], bad: list[bytes]) -> None:
    """JSON is what the standard says, not what one parser can hold."""
    assert [data for data in good if find_data_fault(data, format)] == []
    assert [data for data in bad if not find_data_fault(data, format)] == []
