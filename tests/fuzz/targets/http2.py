"""HTTP/2: what a server sends, header blocks, and heads made of foreign texts."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator

import hpack
from tests.fuzz.target import Target, cut, require

from tocsin.http2 import Failure, RequestHead, Response, codec
from tocsin.http2.codec import ConnectionFault
from tocsin.http2.exchange import Exchange, FailureKind
from tocsin.http2.hpack import CompressionError, Decoder, encode_block, encode_string
from tocsin.http2.huffman import HuffmanError, decode_huffman, encode_huffman
from tocsin.http2.session import ClientSession

SECRET = "secret-of-the-provider"
REQUESTS = 6
LIST_LIMIT = 1 << 16
_HEAD = RequestHead.build(
    "POST", "https://h.example", "/", {"authorization": f"Bearer {SECRET}"}
)
_BODY = b"x" * 70_000


def _talk(
    pieces: Iterable[bytes], told: list[list[object]]
) -> tuple[ClientSession, bytes]:
    """Give a session with requests under way these bytes; what it wrote."""
    errors: list[Exception] = []
    session = ClientSession(max_streams=100, initial_streams=None, report=errors.append)
    session.receive(codec.encode_settings({codec.SETTING_INITIAL_WINDOW_SIZE: 100}))
    for number in range(REQUESTS):
        told.append([])
        body = _BODY if number % 2 else b"{}"
        session.open(Exchange(_HEAD, body, told[number].append, 10.0))
    written = [session.take_output()]
    for piece in pieces:
        session.receive(piece)
        written.append(session.take_output() if session.outbound.parts else b"")
    require(not errors, f"callbacks failed: {errors[:1]}")
    return session, b"".join(written)


def run_session(data: bytes) -> None:
    """Each request ends once, cuts mean nothing, and our own frames keep the rules."""
    ends = []
    for pieces in (cut(data), [data]):
        told: list[list[object]] = []
        session, written = _talk(pieces, told)
        state = (session.closed, session.fault, session.limit, session.draining)
        returned = [told_to.on_done for told_to in session.returned]
        ends.append((_shown(told), len(returned), state))
        _check_written(written, data)
        require(SECRET not in session.fault, "a secret stands in a fault")
        session.expire(100.0)
        session.end(FailureKind.CLOSED, "gone")
        count = sum(map(len, told)) + len(session.returned)
        require(all(len(mine) <= 1 for mine in told), "a request ended twice")
        require(count == REQUESTS and not session.streams, "a request never ended")
    require(ends[0] == ends[1], "the cuts between reads change what comes of it")


def _shown(told: list[list[object]]) -> list[object]:
    return [_values(one) for mine in told for one in mine]


def _values(one: object) -> object:
    if isinstance(one, Response):
        return (one.status, one.body, tuple(one.headers))
    if isinstance(one, Failure):
        return (
            one.kind,
            one.maybe_sent,
            one.detail,
            one.error_code,
            _values(one.begun),
        )
    return one


def _frames(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(kind, size, stream) of whole frames."""
    at = 0
    while at < len(data):
        size_and_kind, _, stream = codec.FRAME_HEAD.unpack_from(data, at)
        size = size_and_kind >> 8
        at += 9 + size
        require(at <= len(data), "a frame that we write is cut")
        yield size_and_kind & 255, size, stream


def _check_written(written: bytes, heard: bytes) -> None:
    """Whole frames, no more data than windows allow, and few for what was heard."""
    require(written.startswith(codec.PREFACE), "no preface")
    sent = 0
    others = 0
    for kind, size, _ in _frames(written[len(codec.PREFACE) :]):
        if kind == codec.DATA:
            sent += size
        else:
            others += 1
    asked = sum(
        1
        for at in range(len(heard) - 8)
        if heard[at + 3] in (codec.WINDOW_UPDATE, codec.SETTINGS)
    )
    if not asked:
        require(sent <= codec.DEFAULT_WINDOW, "more was sent than the window allows")
    require(others < 40 + len(heard), "more frames than bytes that were heard")


def session_examples() -> Iterable[bytes]:
    """An ordinary conversation, and the frames that disturb one."""
    head = encode_block([(b":status", b"200"), (b"content-length", b"2")])
    refused = encode_block([(b":status", b"410"), (b"apns-id", b"ab-cd")])
    interim = encode_block([(b":status", b"103")])

    def headers(stream: int, block: bytes, *, end: bool = False) -> bytes:
        return codec.encode_headers(stream, block, end_stream=end, max_frame=16_384)

    def data(stream: int, body: bytes, flags: int = codec.END_STREAM) -> bytes:
        return codec.encode_frame(codec.DATA, flags, stream, body)

    yield headers(1, head) + data(1, b"{}") + headers(3, refused, end=True)
    yield headers(1, interim) + headers(1, head) + data(1, b"{", 0) + data(1, b"}")
    yield headers(1, head) + data(1, b"{}", 0) + headers(1, b"", end=True)
    yield headers(1, head) + data(1, b"\x03{}   ", codec.PADDED | codec.END_STREAM)
    yield codec.encode_headers(5, head * 3, end_stream=True, max_frame=7)
    yield codec.encode_window_update(3, 5) + codec.encode_window_update(0, 1 << 20)
    yield codec.encode_settings({1: 0, 2: 0, 3: 1, 4: 1 << 20, 5: 1 << 15, 6: 10})
    yield codec.encode_ping(b"12345678") + codec.encode_ping(b"alive?!\n", ack=True)
    yield codec.encode_reset(1, 7) + codec.encode_reset(3, 8) + codec.SETTINGS_ACK
    yield codec.encode_goaway(3, 0, b'{"reason":"Shutdown"}') + headers(3, head)
    yield codec.encode_frame(2, 0, 1, b"\0\0\0\0\0") + b"HTTP/1.1 400 Bad\r\n\r\n"


SESSION = Target(
    "http2-session",
    run_session,
    session_examples,
    words=(
        *(codec.encode_frame(kind, 0, 1) for kind in range(11)),
        encode_block([(b":status", b"200")]),
        encode_block([(b"content-length", b"2")]),
        b"\x20",
        b"\x3f\xe1\x1f",
    ),
    heap_kb=8_192,
)


# --- header blocks -----------------------------------------------------------


def run_blocks(data: bytes) -> None:
    """One error only; what both accept, another library reads alike."""
    decoder, other = Decoder(list_limit=LIST_LIMIT), hpack.Decoder(LIST_LIMIT)
    for block in _blocks(data):
        try:
            fields = decoder.decode(block).fields
        except CompressionError:
            return
        size = sum(len(name) + len(value) + 32 for name, value in fields)
        require(size <= LIST_LIMIT, "a header list over its limit")
        require(Decoder(list_limit=LIST_LIMIT).decode(encode_block(fields)).fields
                == fields, "our own block is read as other fields")  # fmt: skip
        try:
            theirs = tuple(tuple(f) for f in other.decode(block, raw=True))
        except hpack.HPACKError:
            return  # it refuses more: a resize that it did not see announced
        require(theirs == fields, "another library reads other fields")


def _blocks(data: bytes) -> Iterator[bytes]:
    """Blocks behind a byte of length each, the last one whatever is left."""
    while data:
        size = data[0]
        yield data[1 : 1 + size]
        data = data[1 + size :]


def block_examples() -> Iterable[bytes]:
    """Blocks of other encoders, with a table and without, behind each other."""
    fields = [(b":status", b"200"), (b"apns-id", b"ab"), (b"x", b"y" * 20)]
    encoder = hpack.Encoder()
    blocks = [encoder.encode(fields), encoder.encode(fields)]
    encoder.header_table_size = 64
    blocks.append(encoder.encode(fields, huffman=False))
    blocks.append(encode_block(fields))
    yield b"".join(bytes((len(block),)) + block for block in blocks)
    for block in blocks:
        yield bytes((len(block),)) + block


BLOCKS = Target(
    "http2-hpack",
    run_blocks,
    block_examples,
    words=(b"\x20", b"\x3f\xe1\x1f", b"\x82", b"\xbe", encode_string(b"content-type")),
    longest=1_024,
)


def run_huffman(data: bytes) -> None:
    """What is read has exactly this code, and what is written comes back."""
    require(decode_huffman(encode_huffman(data)) == data, "bytes do not come back")
    with contextlib.suppress(HuffmanError):
        require(encode_huffman(decode_huffman(data)) == data, "two codes of one text")


def huffman_examples() -> Iterable[bytes]:
    """Codes of short and of long symbols."""
    yield encode_huffman(b"application/json; charset=UTF-8")
    yield encode_huffman(bytes(range(256)))


HUFFMAN = Target("http2-huffman", run_huffman, huffman_examples, longest=512)


# --- frames, alone, and heads ------------------------------------------------


def run_frames(data: bytes) -> None:
    """The pure readers raise one error, and what they read is written alike."""
    flags, payload = (data[0], data[1:]) if data else (0, b"")
    for read in (
        codec.parse_settings,
        codec.parse_window_update,
        codec.parse_reset,
        codec.parse_goaway,
        codec.parse_ping,
    ):
        with contextlib.suppress(ConnectionFault):
            read(payload)
    for strip in (codec.strip_padding, codec.strip_headers):
        with contextlib.suppress(ConnectionFault):
            require(strip(flags, payload) in payload, "bytes that were not there")
    with contextlib.suppress(ConnectionFault):
        last, code, debug = codec.parse_goaway(payload)
        again = codec.encode_goaway(last, code, debug)[9:]
        require(codec.parse_goaway(again) == (last, code, debug), "another GOAWAY")
    block = b"".join(
        codec.encode_headers(1, payload, end_stream=False, max_frame=size)[9:]
        for size in (len(payload) + 1,)
    )
    require(block == payload, "another block")


def frame_examples() -> Iterable[bytes]:
    """Payloads behind their flags."""
    yield b"\0" + codec.encode_settings({1: 0, 4: 65_535})[9:]
    yield b"\0" + codec.encode_goaway(5, 11, b"too many")[9:]
    yield b"\x28" + b"\x02\0\0\0\0\x10block  "


FRAMES = Target("http2-frames", run_frames, frame_examples)


def run_head(data: bytes) -> None:
    """A head holds what it was made of, or is refused without its values."""
    parts = data.decode("utf-8", "surrogateescape").split("\n")
    path, names = parts[0], parts[1::2]
    pairs = list(itertools.zip_longest(names, parts[2::2], fillvalue=""))
    try:
        head = RequestHead.build("POST", "https://h.example:8443", path, pairs)
    except ValueError as error:
        told = "".join(names)
        for _, value in pairs:
            if len(value) > 11 and value not in told:
                require(value not in str(error), "an error repeats a header's value")
        return
    fields = Decoder(list_limit=1 << 24).decode(head.block).fields
    sent = [(name.lower().encode(), value.encode()) for name, value in pairs]
    require(list(fields[4:]) == sent, "other headers are sent")
    require(fields[3] == (b":path", path.encode()), "another path is sent")
    counted = sum(len(name) + len(value) + 32 for name, value in fields)
    # A few bytes of the path's own coding count as well: never too little.
    require(0 <= head.list_size - counted <= 5, "the size of the list is wrong")


def head_examples() -> Iterable[bytes]:
    """A path, then names and values, a line each."""
    yield b"/3/device/00ff\napns-topic\ncom.example\napns-priority\n10"
    yield b"/\nauthorization\nBearer secret-of-the-provider\nX-Y\n"


HEAD = Target(
    "http2-head",
    run_head,
    head_examples,
    words=(b"\r\n", b"\nhost\n", b"\nte\n", b":path", b"\x7f", "é".encode()),
)
