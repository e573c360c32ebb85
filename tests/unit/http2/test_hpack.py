from __future__ import annotations

import hpack
import pytest

from tocsin.http2.hpack import (
    STATIC_TABLE,
    CompressionError,
    Decoder,
    FieldBlock,
    HeaderListTooLargeError,
    encode_block,
    encode_field,
    encode_integer,
)

DATE_21 = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")
DATE_22 = (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT")
LOCATION = (b"location", b"https://www.example.com")
PRIVATE = (b"cache-control", b"private")
COOKIE = (
    b"set-cookie",
    b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
)

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")]
HOST = (b":authority", b"www.example.com")
REQUESTS = [
    [*GET, HOST],
    [*GET, HOST, (b"cache-control", b"no-cache")],
    [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":path", b"/index.html"),
        HOST,
        (b"custom-key", b"custom-value"),
    ],
]
RESPONSES = [
    [(b":status", b"302"), PRIVATE, DATE_21, LOCATION],
    [(b":status", b"307"), PRIVATE, DATE_21, LOCATION],
    [
        (b":status", b"200"),
        PRIVATE,
        DATE_22,
        LOCATION,
        (b"content-encoding", b"gzip"),
        COOKIE,
    ],
]
C3 = [
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
]
C4 = [
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
]
C5 = [
    (
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a3"
        "23120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d"
    ),
    "4803333037c1c0bf",
    (
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a697"
        "07738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d"
        "6167653d333630303b2076657273696f6e3d31"
    ),
]
C6 = [
    (
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29a"
        "d171863c78f0b97c8e9ae82ae43d3"
    ),
    "4883640effc1c0bf",
    (
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f"
        "2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
    ),
]


def decoder(table_limit: int = 4096, list_limit: int = 65_536) -> Decoder:
    return Decoder(list_limit=list_limit, table_limit=table_limit)


def test_the_static_table_is_that_of_the_specification() -> None:
    """All 61 entries equal those of the independent `hpack` library."""
    from hpack.table import HeaderTable

    assert list(STATIC_TABLE) == list(HeaderTable.STATIC_TABLE)


@pytest.mark.parametrize(
    ("value", "prefix", "code"), [(10, 5, "0a"), (1337, 5, "1f9a0a"), (42, 8, "2a")]
)
def test_integers_of_the_specification(value: int, prefix: int, code: str) -> None:
    """The integers of RFC 7541 C.1 have the bytes printed there."""
    assert encode_integer(value, prefix).hex() == code


@pytest.mark.parametrize(
    ("code", "field"),
    [
        (
            "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
            (b"custom-key", b"custom-header"),
        ),
        ("040c2f73616d706c652f70617468", (b":path", b"/sample/path")),
        ("100870617373776f726406736563726574", (b"password", b"secret")),
        ("82", (b":method", b"GET")),
    ],
)
def test_single_fields_of_the_specification(
    code: str, field: tuple[bytes, bytes]
) -> None:
    """Each representation of RFC 7541 C.2 is understood."""
    assert decoder().decode(bytes.fromhex(code)).fields == (field,)


@pytest.mark.parametrize(
    ("blocks", "lists", "table"),
    [
        (C3, REQUESTS, 4096),
        (C4, REQUESTS, 4096),
        (C5, RESPONSES, 256),
        (C6, RESPONSES, 256),
    ],
    ids=["C.3", "C.4", "C.5", "C.6"],
)
def test_block_sequences_of_the_specification(
    blocks: list[str], lists: list[list[tuple[bytes, bytes]]], table: int
) -> None:
    """The sequences of RFC 7541 C.3 to C.6, evictions included, decode as printed."""
    one = decoder(table)
    for block, fields in zip(blocks, lists, strict=True):
        assert list(one.decode(bytes.fromhex(block)).fields) == fields


def test_our_blocks_are_read_by_another_library() -> None:
    """Stateless blocks decode in `hpack`, in any order, with any table size."""
    fields = [
        (b":method", b"POST"),
        (b":path", b"/3/device/" + b"ab" * 32),
        (b"authorization", b"bearer x.y.z"),
        (b"apns-topic", b"org.example"),
        (b"accept", b""),
    ]
    other = hpack.Decoder()
    for huffman in (True, False, True):
        block = encode_block(fields, huffman=huffman)
        assert [tuple(f) for f in other.decode(block, raw=True)] == fields
    assert not other.header_table.dynamic_entries


def test_credentials_are_never_indexed() -> None:
    """Authorization is marked so that no proxy puts it into a table."""
    assert encode_field(b"authorization", b"x")[0] & 0xF0 == 0x10
    (field,) = hpack.Decoder().decode(encode_field(b"authorization", b"x"))
    assert not getattr(field, "indexable", True)


def test_stateless_blocks_are_remembered() -> None:
    """A block that neither reads nor changes the table is decoded once."""
    one = decoder()
    block = encode_block([(b":status", b"200"), (b"server", b"s")])
    assert one.decode(block) is one.decode(block)
    assert block in one.memo


def test_blocks_that_use_the_table_are_not_remembered() -> None:
    """Blocks that insert, or read what was inserted, are decoded every time."""
    one = decoder()
    inserting = bytes.fromhex("88400178017a")  # :status 200, x: z into the table
    reading = bytes.fromhex("88be")
    for _ in range(2):
        assert one.decode(inserting).fields[1] == (b"x", b"z")
        assert one.decode(reading).fields[1] == (b"x", b"z")
    assert not one.memo
    one.decode(bytes.fromhex("88400178017b"))
    assert one.decode(reading).fields[1] == (b"x", b"{")


def test_inserting_into_no_table_is_remembered_until_there_is_one() -> None:
    """Nginx marks fields for a table of size zero; a later size forgets the memo."""
    one = decoder()
    inserting = bytes.fromhex("88400178017a")
    one.decode(b"\x20" + inserting)
    one.decode(inserting)
    assert inserting in one.memo
    one.decode(bytes.fromhex("3fe11f88"))  # back to 4096 bytes
    assert inserting not in one.memo
    one.decode(inserting)
    assert one.decode(bytes.fromhex("88be")).fields[1] == (b"x", b"z")


def test_an_entry_larger_than_the_table_empties_it() -> None:
    """RFC 7541 §4.4: that is no error, and nothing stays in the table."""
    one = decoder(64)
    one.decode(bytes.fromhex("400178017a"))
    one.decode(b"\x40\x01y\x28" + b"v" * 40)
    with pytest.raises(CompressionError):
        one.decode(b"\xbe")


@pytest.mark.parametrize(
    "block",
    [
        "80",  # index 0
        "be",  # an index of an empty table
        "ffffffffffffff7f",  # an integer without end
        "0f",  # cut in an integer
        "0005616263",  # cut in a string
        "3fe21f",  # a table larger than allowed
        "8820",  # a size update after a field
        "0081ff0161",  # a name whose Huffman padding is too long
    ],
)
def test_broken_blocks_raise_one_error(block: str) -> None:
    """Whatever is wrong with a block, it is a CompressionError."""
    with pytest.raises(CompressionError):
        decoder().decode(bytes.fromhex(block))


def test_a_small_block_cannot_unfold_without_bound() -> None:
    """Repeating a large table entry stops at the list limit, as in an HPACK bomb."""
    one = decoder(list_limit=10_000)
    one.decode(b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000)
    with pytest.raises(HeaderListTooLargeError):
        one.decode(b"\xbe" * 200)


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ([(b":status", b"200"), (b"Server", b"x")], "lower case"),
        ([(b"server", b"x"), (b":status", b"200")], "after an ordinary"),
        ([(b":status", b"200"), (b"connection", b"close")], "HTTP/1.1"),
        ([(b":status", b"2x0")], ":status"),
        ([(b":status", b"200"), (b":status", b"200")], ":status"),
        ([(b":status", b"200"), (b"content-length", b"-1")], "content-length"),
        (
            [
                (b":status", b"200"),
                (b"content-length", b"1"),
                (b"content-length", b"2"),
            ],
            "content-length",
        ),
    ],
)
def test_malformed_lists_are_named(
    fields: list[tuple[bytes, bytes]], fault: str
) -> None:
    """What RFC 9113 forbids in a field list is said in `fault`."""
    assert fault in FieldBlock(tuple(fields)).fault


def test_a_good_list_has_no_fault() -> None:
    """Status and content-length are read once for all responses that share them."""
    block = FieldBlock(((b":status", b"404"), (b"content-length", b"12")))
    assert (block.status, block.content_length, block.fault) == (404, 12, "")
    assert block.text == (("content-length", "12"),)
