"""HTTP/2 header blocks for the simulator: read with a memory, written plainly.

Reading stands on the `hpack` library; it must not use the engine's own codec.
"""

from __future__ import annotations

from hpack.exceptions import HPACKError
from hpack.hpack import Decoder
from hpack.table import HeaderTable

from tocsin.simulator.exchange import Reply

_MEMO_LIMIT = 4096
_STATIC_STATUS = {200: 8, 204: 9, 206: 10, 304: 11, 400: 12, 404: 13, 500: 14}


class BrokenBlock(Exception):
    """A header block that cannot be decoded; the connection is lost with it."""


class _WatchedTable(HeaderTable):
    """A dynamic table that tells whether a block changed it."""

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)


class HeaderReader:
    """Decodes header blocks, remembering those that do not touch the table.

    While the table stays as it is, equal bytes mean equal headers; a client that
    repeats its block then costs one dictionary look-up.
    """

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._table = _WatchedTable()
        self._decoder.header_table = self._table
        self._memo: dict[bytes, dict[str, str]] = {}

    def read(self, block: bytes) -> dict[str, str]:
        """Names, pseudo headers included, to values; raises `BrokenBlock`."""
        known = self._memo.get(block)
        if known is not None:
            return known
        before = self._table.changes
        try:
            pairs = self._decoder.decode(block, raw=True)
        except HPACKError:
            raise BrokenBlock from None
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in pairs  # a raw decode gives bytes
        }
        # A table size update (RFC 7541 §6.3) may drop entries without adding
        # one.
        resized = block[:1] and block[0] & 0xE0 == 0x20
        if resized or self._table.changes != before or len(self._memo) > _MEMO_LIMIT:
            self._memo.clear()
        else:
            self._memo[block] = headers
        return headers


def encode_headers(reply: Reply) -> bytes:
    """A header block that uses the static table only, so it never depends on order."""
    if reply.status in _STATIC_STATUS:
        block = bytes([0x80 | _STATIC_STATUS[reply.status]])
    else:
        block = b"\x08" + _encode_text(str(reply.status))
    # Static name 31, content-type, not indexed.
    block += b"\x0f\x10" + _encode_text(reply.content_type)
    for name, value in reply.headers:
        block += b"\x00" + _encode_text(name) + _encode_text(value)
    return block


def _encode_text(text: str) -> bytes:
    raw = text.encode("latin-1")
    # A length of seven bits, then the continuation of RFC 7541 §5.1.
    if len(raw) < 127:
        return bytes([len(raw)]) + raw
    rest, length = len(raw) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return length + bytes([rest]) + raw
