from __future__ import annotations

import hpack
import pytest

from tocsin.http2 import Origin, RequestHead


def fields(head: RequestHead) -> list[tuple[str, str]]:
    return [(str(n), str(v)) for n, v in hpack.Decoder().decode(head.block)]


def test_a_head_holds_all_fields_in_order() -> None:
    """Pseudo-header fields come first, names are lowered."""
    head = RequestHead.build(
        "POST", "https://h.example:8443", "/a?b=c", {"Authorization": "Bearer é"}
    )
    assert fields(head) == [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "h.example:8443"),
        (":path", "/a?b=c"),
        ("authorization", "Bearer é"),
    ]


def test_the_frame_openings_fit_the_block() -> None:
    """Length, type and flags in front of the block are those of its HEADERS frame."""
    head = RequestHead.build("GET", "https://h.example", "/")
    length = len(head.block).to_bytes(3, "big")
    assert head.opening == length + b"\x01\x04"
    assert head.closing == length + b"\x01\x05"


def test_with_path_changes_only_the_path() -> None:
    """The first head stays what it was."""
    head = RequestHead.build("POST", "https://h.example", "/a", {"x": "y"})
    other = head.with_path("/3/device/abc")
    changed = [(n, "/3/device/abc" if n == ":path" else v) for n, v in fields(head)]
    assert fields(other) == changed
    assert fields(head)[3] == (":path", "/a")


def test_the_list_size_is_that_of_the_specification() -> None:
    """It counts as a peer with a limit counts: names, values and 32 for each."""
    head = RequestHead.build("POST", "https://h.example", "/a", {"x": "y"})
    exact = sum(len(n) + len(v) + 32 for n, v in fields(head))
    assert exact <= head.list_size <= exact + 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("connection", "close"),
        ("Transfer-Encoding", "chunked"),
        (":path", "/"),
        ("bad name", "x"),
        ("", "x"),
        ("x", "a\r\nb"),
        ("x", "a\0"),
        ("x", " padded"),
    ],
)
def test_forbidden_headers_are_refused(name: str, value: str) -> None:
    """What could break a request, or split it in two, never becomes bytes."""
    with pytest.raises(ValueError, match=r"header|value"):
        RequestHead.build("POST", "https://h.example", "/", {name: value})


@pytest.mark.parametrize("path", ["", "a", "/a b", "/ä", "/\n"])
def test_wrong_paths_are_refused(path: str) -> None:
    """Paths are printable ASCII and begin with a slash."""
    with pytest.raises(ValueError, match="path"):
        RequestHead.build("POST", "https://h.example", path)


@pytest.mark.parametrize(
    ("text", "host", "port", "authority"),
    [
        ("https://h.example", "h.example", 443, "h.example"),
        ("https://h.example:443/", "h.example", 443, "h.example"),
        ("http://127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080"),
        ("https://[::1]:9", "::1", 9, "[::1]:9"),
    ],
)
def test_origins(text: str, host: str, port: int, authority: str) -> None:
    """An origin gives host, port and authority."""
    origin = Origin.parse(text)
    assert (origin.host, origin.port, origin.authority) == (host, port, authority)


@pytest.mark.parametrize(
    "text",
    ["h.example", "ftp://h", "https://", "https://h/x", "https://u@h", "https://h:x"],
)
def test_wrong_origins_are_refused(text: str) -> None:
    """Anything but scheme, host and port is a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        Origin.parse(text)


def test_a_head_does_not_show_its_secrets() -> None:
    """Its repr names method and size alone."""
    head = RequestHead.build("POST", "https://h.example", "/", {"authorization": "s3"})
    assert "s3" not in repr(head)
