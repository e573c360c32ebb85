from __future__ import annotations

from typing import Any

import pytest
from hyperframe.frame import Frame

from tocsin.http2 import Failure, FailureKind, RequestHead, Response, codec
from tocsin.http2.codec import ErrorCode
from tocsin.http2.exchange import Exchange
from tocsin.http2.hpack import encode_block
from tocsin.http2.session import (
    CONNECTION_WINDOW,
    MAX_RESPONSE_BYTES,
    OPENING,
    STREAM_WINDOW,
    ClientSession,
)

HEAD = RequestHead.build("POST", "https://h.example", "/send", {"x": "y"})
OK = encode_block([(b":status", b"200")])


class Side:
    """A session with what came out of it."""

    def __init__(
        self, *, settings: dict[int, int] | None = None, **options: int
    ) -> None:
        self.errors: list[Exception] = []
        self.results: list[Response | Failure] = []
        self.session = ClientSession(
            max_streams=options.get("max_streams", 100),
            initial_streams=options.get("initial_streams"),
            report=self.errors.append,
            **{key: options[key] for key in ("first_id",) if key in options},
        )
        self.opening = self.session.take_output()
        if settings is not None:
            self.session.receive(codec.encode_settings(settings))
            self.session.take_output()

    def open(self, body: bytes = b"body", head: RequestHead = HEAD) -> Exchange:
        exchange = Exchange(head, body, self.results.append, 10.0)
        self.session.open(exchange)
        return exchange

    def receive(self, *frames: bytes) -> None:
        self.session.receive(b"".join(frames))

    def frames(self) -> list[Any]:
        if not self.session.outbound.parts:
            return []
        view = memoryview(self.session.take_output())
        frames: list[Any] = []  # each kind of frame has fields of its own
        while view:
            frame, length = Frame.parse_frame_header(view[:9])
            frame.parse_body(view[9 : 9 + length])
            frames.append(frame)
            view = view[9 + length :]
        return frames

    def names(self) -> list[str]:
        return [type(frame).__name__.removesuffix("Frame") for frame in self.frames()]


@pytest.fixture
def side() -> Side:
    return Side(settings={})


def head(stream: int = 1, block: bytes = OK, flags: int = codec.END_HEADERS) -> bytes:
    return codec.encode_frame(codec.HEADERS, flags, stream, block)


def whole(stream: int = 1, block: bytes = OK) -> bytes:
    return head(stream, block, codec.END_HEADERS | codec.END_STREAM)


def data(payload: bytes, stream: int = 1, *, end: bool = True) -> bytes:
    flags = codec.END_STREAM if end else 0
    return codec.encode_frame(codec.DATA, flags, stream, payload)


def fields(*pairs: tuple[str, str]) -> bytes:
    return encode_block([(n.encode(), v.encode()) for n, v in pairs])


def only(side: Side) -> Response | Failure:
    (result,) = side.results
    return result


def test_nothing_may_be_opened_before_the_settings_of_the_server() -> None:
    """The stream limit is the server's to say, so the session waits for it."""
    side = Side()
    assert side.opening == OPENING
    assert side.session.limit == 0
    side.receive(codec.encode_settings({codec.SETTING_MAX_CONCURRENT_STREAMS: 7}))
    assert side.session.limit == 7
    assert side.names() == ["Settings"]


def test_the_first_block_clears_the_table(side: Side) -> None:
    """The first header block opens with a table size of zero, later ones do not."""
    side.open()
    side.open()
    first, _, second, body = side.frames()
    assert first.data == b"\x20" + HEAD.block
    assert second.data == HEAD.block
    assert second.flags == {"END_HEADERS"}
    assert (body.data, body.flags, body.stream_id) == (b"body", {"END_STREAM"}, 3)


def test_a_request_without_a_body_ends_with_its_head(side: Side) -> None:
    """No DATA frame follows, for the first request and for later ones."""
    side.open(b"")
    side.open(b"")
    assert [f.flags for f in side.frames()] == [{"END_STREAM", "END_HEADERS"}] * 2


def test_an_answer_arrives_in_any_pieces(side: Side) -> None:
    """Byte by byte or at once, it is the same answer."""
    stream = head() + data(b"he", end=False) + data(b"llo")
    side.open()
    for at in range(len(stream)):
        side.receive(stream[at : at + 1])
    side.open()
    side.receive(head(3), data(b"he", 3, end=False), data(b"llo", 3))
    assert [r.body for r in side.results if isinstance(r, Response)] == [b"hello"] * 2
    assert not side.session.streams


def test_headers_are_found_in_any_case(side: Side) -> None:
    """header() takes text or bytes in any case; headers has them all."""
    side.open()
    side.receive(whole(block=fields((":status", "429"), ("retry-after", "7"))))
    answer = only(side)
    assert isinstance(answer, Response)
    assert answer.status == 429
    assert answer.header("Retry-After") == answer.header(b"retry-after") == "7"
    assert answer.header("none") is None
    assert list(answer.headers) == [("retry-after", "7")]


def test_interim_answers_and_trailers(side: Side) -> None:
    """103 is passed over, trailers end the answer and are not its status."""
    side.open()
    side.receive(
        head(block=fields((":status", "103"), ("link", "x"))),
        head(),
        data(b"body", end=False),
        whole(block=fields(("grpc-status", "0"))),
    )
    answer = only(side)
    assert isinstance(answer, Response)
    assert (answer.status, answer.body) == (200, b"body")


def test_continuation_padding_and_priority(side: Side) -> None:
    """A head in three frames, padded and with priority fields, is read."""
    block = fields((":status", "201"), ("a", "b"))
    flags = codec.PADDED | codec.PRIORITY_FIELDS
    payload = b"\x03" + b"prior" + block[:2] + b"\0\0\0"
    side.open()
    side.receive(
        codec.encode_frame(codec.HEADERS, flags, 1, payload),
        codec.encode_frame(codec.CONTINUATION, 0, 1, block[2:3]),
        codec.encode_frame(codec.CONTINUATION, codec.END_HEADERS, 1, block[3:]),
        codec.encode_frame(codec.DATA, codec.PADDED | 1, 1, b"\x02ok\0\0"),
    )
    answer = only(side)
    assert isinstance(answer, Response)
    assert (answer.status, answer.header("a"), answer.body) == (201, "b", b"ok")


def test_unknown_frames_and_priority_frames_are_passed_over(side: Side) -> None:
    """RFC 9113 §5.5: they change nothing."""
    side.open()
    side.receive(
        codec.encode_frame(0xBE, 0xFF, 1, b"grease"),
        codec.encode_frame(codec.PRIORITY, 0, 1, b"12345"),
        whole(),
    )
    assert isinstance(only(side), Response)


def test_the_connection_window_is_given_back(side: Side) -> None:
    """However much comes, the server is told before half the window is used."""
    updates = 0
    for number in range(1200):
        side.open(b"")
        stream = 2 * number + 1
        side.receive(head(stream), data(b"x" * 16_000, stream))
        updates += side.names().count("WindowUpdate")
    assert updates == 1200 * 16_000 // (CONNECTION_WINDOW // 2)


def test_a_stream_window_is_given_back(side: Side) -> None:
    """One long answer gets stream updates too, and answers of closed streams count."""
    side.open()
    side.receive(head())
    side.frames()
    for _ in range(STREAM_WINDOW // 2 // 16_000 + 1):
        side.receive(data(b"x" * 16_000, end=False))
    (update,) = side.frames()
    assert update.stream_id == 1
    assert update.window_increment > STREAM_WINDOW // 2


def test_padding_is_given_back_as_well(side: Side) -> None:
    """It uses up both windows (RFC 9113 §6.1), so an answer of padding goes on too."""
    side.open()
    side.receive(head())
    side.frames()
    padded = b"\xff" + b"x" + bytes(255)
    sent = 0
    given = {0: 0, 1: 0}
    while not given[0]:
        side.receive(codec.encode_frame(codec.DATA, codec.PADDED, 1, padded))
        sent += len(padded)
        for update in side.frames():
            assert sent - given[update.stream_id] == update.window_increment
            given[update.stream_id] = sent
        assert sent - given[1] <= STREAM_WINDOW // 2
        assert sent - given[0] <= CONNECTION_WINDOW // 2
    assert given[1] > CONNECTION_WINDOW // 2 - STREAM_WINDOW


def test_an_endless_answer_is_cut(side: Side) -> None:
    """More than the limit resets the stream, and the connection goes on."""
    side.open()
    side.receive(head())
    for _ in range(MAX_RESPONSE_BYTES // 16_000 + 1):
        side.receive(data(b"x" * 16_000, end=False))
    failure = only(side)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PROTOCOL
    assert "RstStream" in side.names()
    assert not side.session.closed


def test_a_body_waits_for_the_windows() -> None:
    """Both windows hold a body back; each update sends no more than it allows."""
    side = Side(settings={codec.SETTING_INITIAL_WINDOW_SIZE: 5})
    side.open(b"0123456789")
    assert [f.data for f in side.frames()[1:]] == [b"01234"]
    side.receive(codec.encode_window_update(1, 2))
    assert [f.data for f in side.frames()] == [b"56"]
    side.receive(codec.encode_settings({codec.SETTING_INITIAL_WINDOW_SIZE: 8}))
    last, ack = side.frames()
    assert (last.data, last.flags) == (b"789", {"END_STREAM"})
    assert ack.flags == {"ACK"}


def test_a_shrunken_window_is_paid_back_first() -> None:
    """A smaller initial window can make a stream's window negative."""
    side = Side(settings={codec.SETTING_INITIAL_WINDOW_SIZE: 5})
    side.open(b"0123456789")
    side.receive(codec.encode_settings({codec.SETTING_INITIAL_WINDOW_SIZE: 1}))
    side.frames()
    side.receive(codec.encode_window_update(1, 4))
    assert side.frames() == []
    side.receive(codec.encode_window_update(1, 1))
    assert [f.data for f in side.frames()] == [b"5"]


def test_the_connection_window_is_shared_in_order(side: Side) -> None:
    """When it is used up, bodies wait, and updates serve the oldest first."""
    side.open(b"a" * 65_000)
    side.open(b"b" * 1000)
    side.open(b"c" * 10)
    sent = b"".join(f.data for f in side.frames() if type(f).__name__ == "DataFrame")
    assert sent == b"a" * 65_000 + b"b" * 535
    side.receive(codec.encode_window_update(0, 470))
    assert [f.data for f in side.frames()] == [b"b" * 465, b"c" * 5]


def test_frames_obey_the_frame_size_of_the_server() -> None:
    """Bodies and heads are cut where the server wants them cut."""
    side = Side(settings={})
    side.receive(codec.encode_settings({codec.SETTING_MAX_FRAME_SIZE: 20_000}))
    side.frames()
    side.open(
        b"x" * 50_000,
        RequestHead.build("POST", "https://h.example", "/", {"long": "v" * 30_000}),
    )
    sizes = [f.body_len for f in side.frames()]
    assert sizes[0] == 20_000
    assert sizes[2:] == [20_000, 20_000, 10_000]


def test_an_early_answer_is_taken_and_the_rest_not_sent() -> None:
    """An answer before the whole body was sent is an answer; the stream is reset."""
    side = Side(settings={codec.SETTING_INITIAL_WINDOW_SIZE: 5})
    side.open(b"0123456789")
    side.frames()
    side.receive(whole(), codec.encode_reset(1, ErrorCode.NO_ERROR))
    assert isinstance(only(side), Response)
    (reset,) = side.frames()
    assert (type(reset).__name__, reset.error_code) == ("RstStreamFrame", 8)


def test_no_error_after_the_answer_is_no_failure(side: Side) -> None:
    """Nginx resets with NO_ERROR when it answered before it read the body."""
    side.open()
    side.receive(head(), data(b"{}"), codec.encode_reset(1, ErrorCode.NO_ERROR))
    assert isinstance(only(side), Response)


def test_no_error_before_the_answer_is_a_failure(side: Side) -> None:
    """A reset in mid-answer leaves a cut answer, which nobody may see."""
    side.open()
    side.receive(head(), codec.encode_reset(1, ErrorCode.NO_ERROR))
    failure = only(side)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.maybe_sent) == (FailureKind.RESET, True)


def test_a_refused_stream_is_returned(side: Side) -> None:
    """REFUSED_STREAM says that nothing was processed."""
    exchange = side.open()
    side.receive(codec.encode_reset(1, ErrorCode.REFUSED_STREAM))
    assert side.session.returned == [exchange]
    assert side.results == []


def test_goaway_returns_what_is_above_it(side: Side) -> None:
    """Streams above the last one come back, those below finish, none are opened."""
    exchanges = [side.open() for _ in range(3)]
    side.session.take_output()
    side.receive(codec.encode_goaway(3, ErrorCode.NO_ERROR))
    assert side.session.returned == exchanges[2:]
    assert side.session.limit == 0
    side.receive(whole(1), whole(3))
    assert len(side.results) == 2


def test_goaway_debug_data_reaches_the_failures(side: Side) -> None:
    """APNs tells its reason there; who loses an answer by it gets to know."""
    side.open()
    side.session.take_output()
    side.receive(codec.encode_goaway(1, 11, b'{"reason":"Shutdown"}'))
    side.session.end(FailureKind.CLOSED, "gone")
    failure = only(side)
    assert isinstance(failure, Failure)
    assert failure.goaway_debug == b'{"reason":"Shutdown"}'
    assert failure.error_code == 11


def test_an_end_returns_what_was_never_written(side: Side) -> None:
    """Handed to the socket: maybe sent. Still here: surely not."""
    side.open()
    side.session.take_output()
    kept = side.open()
    side.session.end(FailureKind.CLOSED, "gone")
    failure = only(side)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.maybe_sent) == (FailureKind.CLOSED, True)
    assert side.session.returned == [kept]


def test_a_request_of_a_connection_that_never_wrote_is_returned() -> None:
    """Nothing of it has left this process."""
    results: list[Response | Failure] = []
    session = ClientSession(max_streams=1, initial_streams=None, report=print)
    exchange = Exchange(HEAD, b"", results.append, 10.0)
    session.open(exchange)
    session.end(FailureKind.CLOSED, "gone")
    assert (session.returned, results) == ([exchange], [])


def test_deadlines(side: Side) -> None:
    """What is late is cancelled and told; an answer that comes then is ignored."""
    side.open()
    assert side.session.expire(9.9) == 0
    assert side.session.expire(10.0) == 1
    side.receive(head(), data(b"late"))
    failure = only(side)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.maybe_sent) == (FailureKind.TIMEOUT, True)
    assert "RstStream" in side.names()


def test_stream_limits_follow_settings_and_proof() -> None:
    """The first success lifts the initial cap, and the server's limit always binds."""
    side = Side(settings={}, initial_streams=1)
    assert side.session.limit == 1
    side.open()
    side.receive(whole(block=fields((":status", "403"))))
    assert side.session.limit == 1
    side.open()
    side.receive(whole(3))
    assert side.session.limit == 100
    side.receive(codec.encode_settings({codec.SETTING_MAX_CONCURRENT_STREAMS: 3}))
    assert side.session.limit == 3
    side.receive(codec.encode_settings({codec.SETTING_MAX_CONCURRENT_STREAMS: 500}))
    assert side.session.limit == 100


@pytest.mark.parametrize("status", ["200", "400", "410", "413"])
def test_an_answer_about_the_request_is_proof_too(status: str) -> None:
    """Whoever is told what is wrong with a request was let in."""
    side = Side(settings={}, initial_streams=1)
    side.open()
    side.receive(whole(block=fields((":status", status))))
    assert side.session.limit == 100


@pytest.mark.parametrize("status", ["401", "403", "429", "500", "503"])
def test_a_refusal_of_us_is_no_proof(status: str) -> None:
    """The cap stays while the server has not shown that it knows us."""
    side = Side(settings={}, initial_streams=1)
    side.open()
    side.receive(whole(block=fields((":status", status))))
    assert side.session.limit == 1


def test_the_last_stream_id_drains_the_connection() -> None:
    """After 2^31-1 there is no number left."""
    side = Side(settings={}, first_id=2**31 - 3)
    side.open()
    assert side.session.limit == 100
    side.open()
    assert side.session.limit == 0
    side.receive(whole(2**31 - 1))
    assert isinstance(only(side), Response)


def test_pings_are_answered(side: Side) -> None:
    """With the same bytes; an acknowledgement is not answered."""
    side.receive(
        codec.encode_ping(b"abcdefgh"), codec.encode_ping(b"12345678", ack=True)
    )
    (pong,) = side.frames()
    assert (pong.flags, pong.opaque_data) == ({"ACK"}, b"abcdefgh")


def test_a_ping_and_a_farewell_of_our_own(side: Side) -> None:
    """The bytes come back as they were; the farewell names no stream and no error."""
    side.session.ping(b"abcdefgh")
    side.session.say_goodbye()
    ping, goaway = side.frames()
    assert (ping.flags, ping.opaque_data) == (set(), b"abcdefgh")
    assert (goaway.last_stream_id, goaway.error_code) == (0, ErrorCode.NO_ERROR)


def test_a_connection_in_doubt_opens_no_stream(side: Side) -> None:
    """Until it is not any more; one that drains opens none in any case."""
    side.session.hold(True)
    assert side.session.limit == 0
    side.receive(codec.encode_settings({codec.SETTING_MAX_CONCURRENT_STREAMS: 9}))
    assert side.session.limit == 0
    side.session.hold(False)
    assert side.session.limit == 9
    side.session.drain()
    side.session.hold(False)
    assert side.session.limit == 0


def test_timeouts_are_counted_until_something_is_answered(side: Side) -> None:
    """So the pool knows a connection that has gone silent."""
    assert (side.session.timeouts_in_row, side.session.answered) == (0, False)
    for count in (1, 2, 3):
        side.open()
        side.session.expire(10.0)
        assert (side.session.timeouts_in_row, side.session.answered) == (count, False)
    side.open()
    side.receive(whole(7))
    assert (side.session.timeouts_in_row, side.session.answered) == (0, True)


@pytest.mark.parametrize("ending", ["expire", "reset", "goaway", "malformed"])
def test_the_rest_of_a_request_that_ended_is_not_sent(ending: str) -> None:
    """The peer's windows open later, and say so for the connection."""
    side = Side(settings={codec.SETTING_INITIAL_WINDOW_SIZE: 5})
    side.open(b"0123456789")
    side.frames()
    if ending == "expire":
        side.session.expire(10.0)
    elif ending == "reset":
        side.receive(codec.encode_reset(1, ErrorCode.CANCEL))
    elif ending == "goaway":
        side.receive(codec.encode_goaway(0, ErrorCode.NO_ERROR))
    else:
        side.receive(head(block=fields(("x", "y"))))
    side.frames()
    side.receive(codec.encode_settings({codec.SETTING_INITIAL_WINDOW_SIZE: 50}))
    assert side.names() == ["Settings"]


@pytest.mark.parametrize(
    ("increments", "code"),
    [((0,), 1), ((codec.MAX_WINDOW,), 3)],
    ids=["zero", "overflow"],
)
def test_a_wrong_window_of_a_stream_ends_it_alone(
    increments: tuple[int, ...], code: int
) -> None:
    """By a reset that says why; others go on, and streams that ended do not count."""
    side = Side(settings={codec.SETTING_INITIAL_WINDOW_SIZE: 5})
    side.open(b"")
    side.receive(whole(1))
    for _ in range(2):
        side.open(b"x" * 100_000)
    side.frames()
    side.receive(codec.encode_window_update(5, 60_000))
    side.frames()
    for increment in increments:
        side.receive(codec.encode_window_update(1, increment))
        side.receive(codec.encode_window_update(3, increment))
        side.receive(codec.encode_window_update(3, increment))
    resets = [f for f in side.frames() if type(f).__name__ == "RstStreamFrame"]
    assert [(f.stream_id, f.error_code) for f in resets] == [(3, code)]
    assert [type(result) for result in side.results] == [Response, Failure]
    assert list(side.session.streams) == [5]
    assert not side.session.closed


def test_a_reset_says_why(side: Side) -> None:
    """Its code reaches the caller, in words too."""
    side.open()
    side.receive(codec.encode_reset(1, ErrorCode.ENHANCE_YOUR_CALM))
    failure = only(side)
    assert isinstance(failure, Failure)
    assert failure.error_code == ErrorCode.ENHANCE_YOUR_CALM
    assert failure.detail == "the server reset the request: ENHANCE_YOUR_CALM"


def test_goaway_keeps_what_was_begun_and_returns_the_rest(side: Side) -> None:
    """An answer whose head has come was processed, wherever its stream stands."""
    exchanges = [side.open() for _ in range(4)]
    side.session.take_output()
    side.receive(head(5))
    side.receive(codec.encode_goaway(1, ErrorCode.NO_ERROR))
    assert side.session.returned == [exchanges[1], exchanges[3]]
    assert list(side.session.streams) == [1, 5]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", ["200", "304"])
def test_a_length_may_stand_without_its_content(
    side: Side, method: str, status: str
) -> None:
    """In answers to HEAD and in 304 (RFC 9110 §8.6), and nowhere else."""
    asked = RequestHead.build(method, "https://h.example", "/", {})
    side.open(b"", asked)
    side.receive(whole(block=fields((":status", status), ("content-length", "5"))))
    is_allowed = method == "HEAD" or status == "304"
    assert isinstance(only(side), Response if is_allowed else Failure)


def test_an_answer_without_a_body_has_an_empty_one(side: Side) -> None:
    """The first of its kind, those that are remembered, and one with trailers."""
    for stream in (1, 3, 5):
        side.open()
        side.receive(whole(stream))
    side.open()
    side.receive(head(7), whole(7, fields(("grpc-status", "0"))))
    assert [r.body for r in side.results if isinstance(r, Response)] == [b""] * 4


def test_heads_that_were_seen_before_mean_the_same(side: Side) -> None:
    """Decoded blocks are remembered, which changes nothing about their place."""
    early = fields((":status", "103"), ("link", "x"))
    wrong = fields((":status", "200"), ("Upper", "x"))
    for turn in range(3):
        side.results.clear()
        first = 1 + 8 * turn
        for _ in range(4):
            side.open()
        side.receive(head(first, early), head(first, early), whole(first))
        side.receive(whole(first + 2, wrong))
        side.receive(head(first + 4), whole(first + 4))
        side.session.expire(10.0)
        side.receive(whole(first + 6), head(first + 6, early))
        kinds = [
            each.kind if isinstance(each, Failure) else each.status
            for each in side.results
        ]
        assert kinds == [
            200,
            FailureKind.PROTOCOL,
            FailureKind.PROTOCOL,
            FailureKind.TIMEOUT,
        ]
    assert not side.session.closed


def test_a_farewell_for_a_fault_says_what_it_was(side: Side) -> None:
    """For the logs of the server; we process no streams of it."""
    side.receive(codec.encode_window_update(0, 0))
    (goaway,) = side.frames()
    assert (goaway.last_stream_id, goaway.error_code) == (0, 1)
    assert goaway.additional_data == b"a window update of zero"


def test_a_failure_without_a_farewell_has_none(side: Side) -> None:
    """Neither a code nor words that a server would have said."""
    side.open()
    side.session.take_output()
    side.session.end(FailureKind.CLOSED, "gone")
    assert side.results == [Failure(FailureKind.CLOSED, True, "gone", None, b"", None)]
    assert side.session.fault == "gone"


def test_a_callback_that_raises_at_a_failure_is_reported(side: Side) -> None:
    """With its own error, and the next request gets its failure."""

    def fail(_: Response | Failure) -> None:
        raise LookupError("caller's bug")

    side.session.open(Exchange(HEAD, b"", fail, 10.0))
    side.open()
    side.session.expire(10.0)
    assert isinstance(side.errors[0], LookupError)
    assert isinstance(only(side), Failure)


@pytest.mark.parametrize("status", ["101", "0", ""])
def test_a_head_that_is_no_answer_is_malformed(side: Side, status: str) -> None:
    """Also where a body seems to follow."""
    side.open()
    side.receive(head(block=fields((":status", status)) if status else fields()))
    assert isinstance(only(side), Failure)
    assert not side.session.closed


def test_a_frame_may_be_as_large_as_it_can_be(side: Side) -> None:
    """16,384 bytes, which is what we let servers send."""
    side.open()
    side.receive(head(), data(b"x" * codec.DEFAULT_MAX_FRAME))
    answer = only(side)
    assert isinstance(answer, Response)
    assert len(answer.body) == codec.DEFAULT_MAX_FRAME


def test_the_opening_and_what_follows_arrive_in_any_pieces() -> None:
    """Whole frames of a piece are used, and the part of one waits for its rest."""
    stream = codec.encode_settings({codec.SETTING_MAX_CONCURRENT_STREAMS: 7})
    stream += codec.encode_ping(b"abcdefgh") + codec.encode_ping(b"12345678")
    for at in range(len(stream)):
        side = Side()
        side.receive(stream[:at])
        side.receive(stream[at:])
        names = [getattr(frame, "opaque_data", frame.flags) for frame in side.frames()]
        assert names == [{"ACK"}, b"abcdefgh", b"12345678"]
        assert side.session.limit == 7
    slow = Side()
    for at in range(len(stream)):
        slow.receive(stream[at : at + 1])
    assert len(slow.frames()) == 3


def test_a_callback_that_raises_hurts_nobody_else(side: Side) -> None:
    """Its error is reported, and the next answer is delivered."""

    def fail(_: Response | Failure) -> None:
        raise LookupError("caller's bug")

    side.session.open(Exchange(HEAD, b"", fail, 10.0))
    side.open()
    side.receive(whole(1), whole(3))
    assert isinstance(only(side), Response)
    assert isinstance(side.errors[0], LookupError)


@pytest.mark.parametrize(
    "block",
    [
        fields((":status", "200"), ("Upper", "x")),
        fields((":status", "200"), ("connection", "close")),
        fields(("x", "y")),
        fields((":status", "101")),
        fields((":status", "100")),
        fields((":status", "200"), ("content-length", "5")),
    ],
)
def test_malformed_answers_end_their_stream_alone(side: Side, block: bytes) -> None:
    """The stream is reset, its request fails, and others go on."""
    side.open()
    side.open()
    side.receive(whole(1, block), whole(3))
    failure, answer = side.results
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.maybe_sent) == (FailureKind.PROTOCOL, True)
    assert isinstance(answer, Response)
    assert "RstStream" in side.names()


def test_a_body_before_its_head_is_malformed(side: Side) -> None:
    """DATA first ends the stream alone."""
    side.open()
    side.receive(data(b"x"))
    assert isinstance(only(side), Failure)
    assert not side.session.closed


# An entry of 4,000 bytes for the table, and then an index to it, 99 times.
BOMB = b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 99

FAULTS = {
    "push promise": (codec.encode_frame(codec.PUSH_PROMISE, 4, 1, bytes(4)), 1),
    "stray continuation": (codec.encode_frame(codec.CONTINUATION, 4, 1, OK), 1),
    "interrupted block": (head(flags=0) + codec.encode_ping(bytes(8)), 1),
    "block of two streams": (
        head(flags=0) + codec.encode_frame(codec.CONTINUATION, 4, 3, b""),
        1,
    ),
    "empty continuation": (
        head(flags=0) + codec.encode_frame(codec.CONTINUATION, 0, 1),
        11,
    ),
    "endless block": (
        head(flags=0) + codec.encode_frame(codec.CONTINUATION, 0, 1, bytes(16_000)) * 5,
        11,
    ),
    "large frame": (codec.encode_frame(codec.DATA, 0, 1, bytes(16_385)), 6),
    "announced large frame": (b"\xff\xff\xff\x00\x00\x00\x00\x00\x01", 6),
    "headers of an idle stream": (whole(7), 1),
    "headers of stream 0": (whole(0), 1),
    "headers of an even stream": (whole(2), 1),
    "data of an idle stream": (data(b"", 7), 1),
    "reset of an idle stream": (codec.encode_reset(9, 0), 1),
    "settings on a stream": (codec.encode_frame(codec.SETTINGS, 0, 1), 1),
    "settings of five bytes": (codec.encode_frame(codec.SETTINGS, 0, 0, bytes(5)), 6),
    "settings ack with settings": (
        codec.encode_frame(codec.SETTINGS, 1, 0, bytes(6)),
        6,
    ),
    "frame size too small": (codec.encode_settings({5: 1}), 1),
    "push enabled with 2": (codec.encode_settings({2: 2}), 1),
    "window setting too large": (codec.encode_settings({4: 1 << 31}), 3),
    "ping of 7": (codec.encode_frame(codec.PING, 0, 0, bytes(7)), 6),
    "short goaway": (codec.encode_frame(codec.GOAWAY, 0, 0, bytes(7)), 6),
    "window update of 0": (codec.encode_window_update(0, 0), 1),
    "window overflow": (codec.encode_window_update(0, (1 << 31) - 1), 3),
    "short window update": (codec.encode_frame(codec.WINDOW_UPDATE, 0, 0, b"1"), 6),
    "broken block": (whole(block=b"\xff\xff\xff\xff\xff\xff\xff"), 9),
    "header bomb": (
        whole(block=b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 99),
        11,
    ),
    "padding over all": (codec.encode_frame(codec.DATA, codec.PADDED, 1, b"\x09"), 1),
    "flood of pings": (codec.encode_ping(bytes(8)) * 1001, 11),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_end_the_connection_with_the_right_code(side: Side, name: str) -> None:
    """Every request gets its failure, and GOAWAY says why."""
    frames, code = FAULTS[name]
    side.open()
    side.open()
    side.frames()
    late = side.open()
    side.receive(frames)
    assert side.session.closed
    goodbye = side.frames()[-1]
    assert (type(goodbye).__name__, goodbye.error_code) == ("GoAwayFrame", code)
    kinds = [r.kind for r in side.results if isinstance(r, Failure)]
    assert kinds == [FailureKind.PROTOCOL] * 2
    assert side.session.returned == [late]
    assert side.session.limit == 0


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1"),
        (codec.SETTINGS_ACK, "SETTINGS"),
        (b"SSH-2.0-OpenSSH\r\n", "SETTINGS"),
        (codec.encode_ping(bytes(8)), "SETTINGS"),
    ],
)
def test_servers_of_other_protocols_are_named(first: bytes, said: str) -> None:
    """The first bytes of a server that speaks something else end it clearly."""
    side = Side()
    side.receive(first)
    assert side.session.closed
    assert said in side.session.fault


BEGUN = (head(), data(b"{", end=False))


@pytest.mark.parametrize(
    "end",
    [
        codec.encode_reset(1, ErrorCode.INTERNAL_ERROR),
        codec.encode_reset(1, ErrorCode.REFUSED_STREAM),
        codec.encode_frame(codec.PUSH_PROMISE, 4, 1, bytes(8)),
        head(1, fields(("x", "trailer"))),
    ],
    ids=["reset", "refused", "broken connection", "trailers that do not end"],
)
def test_a_begun_answer_comes_with_its_failure(side: Side, end: bytes) -> None:
    """The status was said: whoever sent the request must know."""
    side.open()
    side.session.take_output()
    side.receive(*BEGUN, end)
    failure = only(side)
    assert isinstance(failure, Failure)
    assert failure.begun is not None
    assert (failure.begun.status, failure.begun.body) == (200, b"{")
    assert side.session.returned == []


def test_a_begun_answer_outlives_its_deadline_and_its_connection(side: Side) -> None:
    """Whichever comes first: the failure knows the status."""
    side.open()
    side.open()
    side.session.take_output()
    side.receive(head(1), head(3))
    side.session.streams[3].deadline = 99.0
    side.session.expire(11.0)
    side.session.end(FailureKind.CLOSED, "gone")
    begun = [one.begun for one in side.results if isinstance(one, Failure)]
    assert [one.status for one in begun if one is not None] == [200, 200]


def test_a_begun_answer_is_never_sent_again_after_goaway(side: Side) -> None:
    """A server that answers has processed it, whatever its GOAWAY counts."""
    for _ in range(2):
        side.open()
    side.session.take_output()
    side.receive(head(3), codec.encode_goaway(0, ErrorCode.NO_ERROR))
    assert len(side.session.returned) == 1
    side.receive(data(b"{}", 3))
    answer = only(side)
    assert isinstance(answer, Response)
    assert answer.body == b"{}"


@pytest.mark.parametrize(
    "block",
    [
        fields((":status", "200"), ("content-length", "9")),
        fields((":status", "200"), ("content-length", "nine")),
        fields((":status", "200"), ("Upper", "case")),
    ],
    ids=["short", "no length", "malformed head"],
)
def test_a_malformed_answer_keeps_its_status(side: Side, block: bytes) -> None:
    """It is no answer, but it says what became of the request."""
    side.open()
    side.receive(head(1, block), data(b"{"))
    failure = only(side)
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.PROTOCOL
    assert failure.begun is not None
    assert failure.begun.status == 200


def test_without_a_final_head_nothing_has_begun(side: Side) -> None:
    """An interim answer says nothing of the request."""
    side.open()
    side.receive(head(1, fields((":status", "103"))))
    side.receive(codec.encode_reset(1, ErrorCode.INTERNAL_ERROR))
    failure = only(side)
    assert isinstance(failure, Failure)
    assert failure.begun is None
