"""HPACK (RFC 7541) for the HTTP/2 room: header blocks to fields and back.

Pure and the same for client and server. The encoder keeps no state at all: every
block it makes is complete in itself, so that blocks can be made once and reused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tocsin.http2.huffman import (
    HuffmanError,
    decode_huffman,
    encode_huffman,
    encoded_length,
)

Field = tuple[bytes, bytes]

# What SETTINGS_HEADER_TABLE_SIZE is before anyone says otherwise.
DEFAULT_TABLE_SIZE = 4096
# A table size update to zero, with which the first block of a connection opens. Our
# encoder never uses the table, so it can ignore the peer's setting of its size.
CLEAR_TABLE = b"\x20"
# An entry counts this much more than its two strings (§4.1).
_ENTRY_OVERHEAD = 32
# Fields that proxies on the way must not put into their own tables (§7.1.3).
_SENSITIVE = frozenset({b"authorization", b"proxy-authorization", b"cookie"})
_MAX_INTEGER = 1 << 31
_MEMO_ENTRIES = 512
_MEMO_BLOCK_BYTES = 2048

_PAIRS = (
    ":authority|;:method|GET;:method|POST;:path|/;:path|/index.html;:scheme|http;"
    ":scheme|https;:status|200;:status|204;:status|206;:status|304;:status|400;"
    ":status|404;:status|500;accept-charset|;accept-encoding|gzip, deflate;"
    "accept-language|;accept-ranges|;accept|;access-control-allow-origin|;age|;"
    "allow|;authorization|;cache-control|;content-disposition|;content-encoding|;"
    "content-language|;content-length|;content-location|;content-range|;"
    "content-type|;cookie|;date|;etag|;expect|;expires|;from|;host|;if-match|;"
    "if-modified-since|;if-none-match|;if-range|;if-unmodified-since|;"
    "last-modified|;link|;location|;max-forwards|;proxy-authenticate|;"
    "proxy-authorization|;range|;referer|;refresh|;retry-after|;server|;set-cookie|;"
    "strict-transport-security|;transfer-encoding|;user-agent|;vary|;via|;"
    "www-authenticate|"
)


def _static_table() -> tuple[Field, ...]:
    pairs = [pair.partition("|") for pair in _PAIRS.split(";")]
    return tuple((name.encode(), value.encode()) for name, _, value in pairs)


# Index 1 of the wire is the first entry here.
STATIC_TABLE = _static_table()
_STATIC_COUNT = len(STATIC_TABLE)
_STATIC_FIELDS = {field: i for i, field in reversed(list(enumerate(STATIC_TABLE, 1)))}
_STATIC_NAMES = {field[0]: i for i, field in reversed(list(enumerate(STATIC_TABLE, 1)))}


class CompressionError(ValueError):
    """A header block that cannot be decoded; the connection cannot go on."""


class HeaderListTooLargeError(CompressionError):
    """A header block unfolds into more than the limit."""


# ---------------------------------------------------------------- encoder


def encode_integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """An integer (§5.1) whose first byte carries the bits of `first` on top."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((first | value,))
    out = bytearray((first | limit,))
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_string(data: bytes, *, huffman: bool = True) -> bytes:
    """A string literal (§5.2), Huffman-coded if `huffman` allows it and it helps."""
    if huffman and encoded_length(data) < len(data):
        coded = encode_huffman(data)
        return encode_integer(len(coded), 7, 0x80) + coded
    return encode_integer(len(data), 7) + data


def encode_field(name: bytes, value: bytes, *, huffman: bool = True) -> bytes:
    """One field as a static index, or as a literal that enters no table.

    Credentials are marked as never to be indexed by anyone on the way.
    """
    index = _STATIC_FIELDS.get((name, value), 0)
    if index and value:
        return encode_integer(index, 7, 0x80)
    first = 0x10 if name in _SENSITIVE else 0x00
    index = _STATIC_NAMES.get(name, 0)
    if index:
        opening = encode_integer(index, 4, first)
    else:
        opening = bytes((first,)) + encode_string(name, huffman=huffman)
    return opening + encode_string(value, huffman=huffman)


def encode_block(fields: Iterable[Field], *, huffman: bool = True) -> bytes:
    """A whole header block, which needs no state and leaves none."""
    return b"".join([encode_field(n, v, huffman=huffman) for n, v in fields])


# ---------------------------------------------------------------- decoder


class FieldBlock:
    """A decoded header block; responses with equal bytes share one.

    `status` is 0 where the block has none (trailers, requests). `fault` says what
    RFC 9113 §8.2 forbids in it, and is empty for a well-formed block.
    """

    __slots__ = ("_text", "content_length", "fault", "fields", "status")

    def __init__(self, fields: tuple[Field, ...]) -> None:
        self.fields = fields
        self.status = 0
        self.content_length: int | None = None
        self.fault = ""
        self._text: tuple[tuple[str, str], ...] | None = None
        self._inspect()

    @property
    def text(self) -> tuple[tuple[str, str], ...]:
        """The ordinary fields as strings, made when first asked for."""
        if self._text is None:
            self._text = tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in self.fields
                if not name.startswith(b":")
            )
        return self._text

    def _inspect(self) -> None:
        ordinary = False
        for name, value in self.fields:
            if name.startswith(b":"):
                if ordinary:
                    self.fault = "a pseudo-header field after an ordinary one"
                self._inspect_pseudo(name, value)
                continue
            ordinary = True
            if not name or name != name.lower():
                self.fault = "a field name that is empty or not in lower case"
            elif name in (b"connection", b"transfer-encoding", b"upgrade"):
                self.fault = "a field that belongs to HTTP/1.1 connections"
            elif name == b"content-length":
                self._inspect_length(value)

    def _inspect_pseudo(self, name: bytes, value: bytes) -> None:
        if name != b":status":
            return
        if self.status or len(value) != 3 or not value.isdigit() or value < b"100":
            self.fault = "a :status that is doubled or not three digits"
        else:
            self.status = int(value)

    def _inspect_length(self, value: bytes) -> None:
        if not value.isdigit() or len(value) > 18:
            self.fault = "a content-length that is no number"
        elif self.content_length not in (None, int(value)):
            self.fault = "two content-lengths that differ"
        else:
            self.content_length = int(value)


class Decoder:
    """The receiving half of HPACK for one connection.

    We announce a table size of zero, but a peer may use the default size until it has
    seen that, so we accept it. `memo` maps the bytes of blocks that neither read nor
    change the table to their fields: callers look there first, it is the fast path.
    """

    __slots__ = ("_entries", "_limit", "_list_limit", "_size", "_table_size", "memo")

    def __init__(
        self, *, list_limit: int, table_limit: int = DEFAULT_TABLE_SIZE
    ) -> None:
        """`list_limit` bounds the decoded size as RFC 9113 §6.5.2 counts it."""
        self.memo: dict[bytes, FieldBlock] = {}
        self._entries: deque[Field] = deque()
        self._size = 0
        self._table_size = table_limit
        self._limit = table_limit
        self._list_limit = list_limit

    def decode(self, block: bytes) -> FieldBlock:
        """The fields of a complete header block; raises `CompressionError`."""
        known = self.memo.get(block)
        if known is not None:
            return known
        try:
            fields, stateless = self._decode(block)
        except IndexError:
            raise CompressionError("the header block ends in mid-field") from None
        except HuffmanError as error:
            raise CompressionError(str(error)) from None
        found = FieldBlock(fields)
        if stateless and len(block) <= _MEMO_BLOCK_BYTES:
            # Emptied as a whole: blocks that come often are back soon, and nothing has
            # to be kept about their use.
            if len(self.memo) >= _MEMO_ENTRIES:
                self.memo.clear()
            self.memo[block] = found
        return found

    def _decode(self, block: bytes) -> tuple[tuple[Field, ...], bool]:
        """The fields, and whether the table was neither read nor changed."""
        fields: list[Field] = []
        stateless = True
        room = self._list_limit
        at = 0
        end = len(block)
        while at < end:
            first = block[at]
            if first >= 0x80:
                index, at = _read_integer(block, at, 7)
                field = self._entry(index)
                stateless = stateless and index <= _STATIC_COUNT
            elif first & 0xE0 == 0x20:
                if fields:
                    raise CompressionError("a table size update after a field")
                size, at = _read_integer(block, at, 5)
                self._resize(size)
                stateless = False
                continue
            else:
                indexing = first >= 0x40
                index, at = _read_integer(block, at, 6 if indexing else 4)
                if index:
                    name = self._entry(index)[0]
                    stateless = stateless and index <= _STATIC_COUNT
                else:
                    name, at = _read_string(block, at)
                value, at = _read_string(block, at)
                field = (name, value)
                if indexing and self._table_size:
                    self._insert(field)
                    stateless = False
            room -= len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
            if room < 0:
                raise HeaderListTooLargeError(
                    f"a header list of more than {self._list_limit} bytes"
                )
            fields.append(field)
        return tuple(fields), stateless

    def _entry(self, index: int) -> Field:
        if 0 < index <= _STATIC_COUNT:
            return STATIC_TABLE[index - 1]
        index -= _STATIC_COUNT + 1
        if not 0 <= index < len(self._entries):
            raise CompressionError("an index that no table has")
        return self._entries[index]

    def _insert(self, field: Field) -> None:
        self._size += len(field[0]) + len(field[1]) + _ENTRY_OVERHEAD
        self._entries.appendleft(field)
        self._evict()

    def _resize(self, size: int) -> None:
        if size > self._limit:
            raise CompressionError(f"a table of {size} bytes, {self._limit} allowed")
        if size != self._table_size:
            # With a size of zero, blocks that ask to be inserted change nothing and
            # are remembered. With a larger table they would have to be decoded again.
            self.memo.clear()
        self._table_size = size
        self._evict()

    def _evict(self) -> None:
        while self._size > self._table_size:
            name, value = self._entries.pop()
            self._size -= len(name) + len(value) + _ENTRY_OVERHEAD


def _read_integer(block: bytes, at: int, prefix_bits: int) -> tuple[int, int]:
    """An integer and where the next thing begins; IndexError when it is cut."""
    limit = (1 << prefix_bits) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 127) << shift
        if value > _MAX_INTEGER or shift > 28:
            raise CompressionError("an integer that is too large")
        if byte < 128:
            return value, at
        shift += 7


def _read_string(block: bytes, at: int) -> tuple[bytes, int]:
    huffman = block[at] & 0x80
    length, at = _read_integer(block, at, 7)
    end = at + length
    if end > len(block):
        raise IndexError
    data = block[at:end]
    return (decode_huffman(data) if huffman else data), end
