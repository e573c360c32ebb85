"""Request heads for the HTTP/2 room: header blocks made once and sent many times.

A head is made of bytes that any connection can send unchanged; it knows no stream, no
body and no connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tocsin.http2 import codec
from tocsin.http2.hpack import encode_field, encode_string

Headers = Mapping[str, str] | Sequence[tuple[str, str]]

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_METHOD = re.compile(r"[A-Z]+")
_PATH = re.compile(r"[\x21-\x7e]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
# RFC 9113 §8.2.2 forbids fields about an HTTP/1.1 connection. `host` would repeat
# `:authority`.
_FORBIDDEN = frozenset(
    {
        "connection",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)
_DEFAULT_PORTS = {"https": 443, "http": 80}
# Literal without indexing, name :path (static index 4).
_PATH_LITERAL = b"\x04"
# Each field counts this much more than its strings (RFC 9113 §6.5.2).
_FIELD_OVERHEAD = 32


@dataclass(frozen=True)
class Origin:
    """Where requests go: scheme, host and port, and the authority that names both."""

    scheme: str
    host: str
    port: int
    authority: str

    @classmethod
    def parse(cls, text: str) -> Origin:
        """From `https://host[:port]`; raises ValueError for anything else."""
        parts = urlsplit(text)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"{text!r} is not http(s)://host[:port]")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"{text!r} is more than an origin")
        if parts.username is not None or not parts.netloc.isascii():
            raise ValueError(f"{text!r} must hold a host and a port only")
        default = _DEFAULT_PORTS[parts.scheme]
        host = parts.hostname
        port = default if parts.port is None else parts.port
        authority = f"[{host}]" if ":" in host else host
        if port != default:
            authority += f":{port}"
        return cls(parts.scheme, host, port, authority)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def _encode_path(path: str) -> bytes:
    if not _PATH.fullmatch(path) or path[0] not in "/*":
        raise ValueError("a path starts with / and is printable ASCII, no spaces")
    # Not Huffman-coded: paths hold device tokens, each of which is sent once, and
    # coding one costs more than the bytes it saves.
    return _PATH_LITERAL + encode_string(path.encode(), huffman=False)


def _encode_headers(headers: Headers) -> tuple[bytes, int]:
    """The fields as block bytes, and what they count in a header list."""
    pairs: Iterable[tuple[str, str]] = (
        headers.items() if isinstance(headers, Mapping) else headers
    )
    block = []
    size = 0
    for name, value in pairs:
        lowered = name.lower()
        if not _NAME.fullmatch(lowered) or lowered in _FORBIDDEN:
            raise ValueError(f"{name!r} cannot be a header of a request")
        raw = value.encode()
        if not _VALUE.fullmatch(raw) or raw != raw.strip():
            raise ValueError(f"the value of {name!r} holds forbidden characters")
        block.append(encode_field(lowered.encode(), raw))
        size += len(lowered) + len(raw) + _FIELD_OVERHEAD
    return b"".join(block), size


class RequestHead:
    """A pre-encoded header block, immutable, for any number of requests.

    `block` is the HPACK block; `opening` is the start of its HEADERS frame (length,
    type and flags) when a body follows, `closing` when none does. `list_size` is its
    size as a peer's limit counts it. Nothing in it shows in `repr`: it may hold keys.
    """

    __slots__ = (
        "_after",
        "_before",
        "_path",
        "_size",
        "block",
        "closing",
        "list_size",
        "method",
        "opening",
    )

    def __init__(
        self, method: str, before: bytes, path: bytes, after: bytes, size: int
    ) -> None:
        """Use `build`; `size` is the list size without the path's own bytes."""
        self.method = method
        self._before = before
        self._path = path
        self._after = after
        self._size = size
        self.block = block = before + path + after
        self.list_size = size + len(path)
        lead = len(block) << 8 | codec.HEADERS
        self.opening = (lead << 8 | codec.END_HEADERS).to_bytes(5, "big")
        both = codec.END_HEADERS | codec.END_STREAM
        self.closing = (lead << 8 | both).to_bytes(5, "big")

    @classmethod
    def build(
        cls, method: str, origin: str, path: str, headers: Headers = ()
    ) -> RequestHead:
        """The head of `method` on `path` at `origin` (`https://host[:port]`).

        Header names are lowered; ValueError names the one that HTTP/2 forbids.
        """
        if not _METHOD.fullmatch(method):
            raise ValueError(f"{method!r} is not a method")
        where = Origin.parse(origin)
        pseudo = [
            (b":method", method.encode()),
            (b":scheme", where.scheme.encode()),
            (b":authority", where.authority.encode()),
        ]
        before = b"".join([encode_field(name, value) for name, value in pseudo])
        after, size = _encode_headers(headers)
        size += sum(len(n) + len(v) + _FIELD_OVERHEAD for n, v in pseudo)
        size += len(b":path") + _FIELD_OVERHEAD
        return cls(method, before, _encode_path(path), after, size)

    def with_path(self, path: str) -> RequestHead:
        """The same head for another path; only the path is encoded."""
        encoded = _encode_path(path)
        return RequestHead(self.method, self._before, encoded, self._after, self._size)

    def __repr__(self) -> str:
        return f"<RequestHead {self.method}, {len(self.block)} bytes>"
