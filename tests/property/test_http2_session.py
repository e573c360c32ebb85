from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tocsin.http2 import Failure, RequestHead, Response, codec
from tocsin.http2.exchange import Exchange, FailureKind
from tocsin.http2.hpack import encode_block
from tocsin.http2.session import ClientSession

HEAD = RequestHead.build("POST", "https://h.example", "/", {"x": "y"})
REQUESTS = 6

Result = Response | Failure


def start(results: list[list[Result]]) -> ClientSession:
    """A session with requests written, half of them longer than the window."""
    errors: list[Exception] = []
    session = ClientSession(max_streams=100, initial_streams=None, report=errors.append)
    session.receive(codec.encode_settings({codec.SETTING_INITIAL_WINDOW_SIZE: 10}))
    for number in range(REQUESTS):
        results.append([])
        body = b"x" * (5 if number % 2 else 50)
        session.open(Exchange(HEAD, body, results[number].append, 10.0))
    session.take_output()
    return session


def feed(session: ClientSession, stream: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for begin, end in itertools.pairwise(edges):
        session.receive(stream[begin:end])


def show(results: list[list[Result]]) -> list[object]:
    return [
        [
            (r.status, r.body, tuple(r.headers)) if isinstance(r, Response) else r
            for r in mine
        ]
        for mine in results
    ]


streams = st.integers(0, 2 * REQUESTS + 2)
blocks = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda status, more: encode_block([(b":status", status), *more]),
        st.sampled_from([b"100", b"200", b"404", b"101", b"9"]),
        st.lists(
            st.sampled_from([(b"a", b"b"), (b"content-length", b"2"), (b"X", b"")]),
            max_size=2,
        ),
    ),
)
frames = st.one_of(
    st.builds(
        codec.encode_frame,
        st.integers(0, 12),
        st.integers(0, 255),
        streams,
        st.binary(max_size=30),
    ),
    st.builds(
        codec.encode_frame, st.just(codec.HEADERS), st.integers(0, 5), streams, blocks
    ),
    st.builds(
        codec.encode_frame,
        st.just(codec.DATA),
        st.integers(0, 1),
        streams,
        st.binary(max_size=10),
    ),
    st.builds(codec.encode_window_update, streams, st.integers(0, (1 << 31) - 1)),
    st.builds(codec.encode_reset, streams, st.integers(0, 14)),
    st.builds(codec.encode_goaway, streams, st.integers(0, 14)),
    st.builds(
        codec.encode_settings,
        st.dictionaries(st.integers(1, 7), st.integers(0, 100_000), max_size=3),
    ),
)
cuts = st.lists(st.integers(0, 10_000), max_size=12)


@given(st.binary(max_size=400), cuts)
def test_garbage_neither_raises_nor_leaves_a_request_without_an_end(
    garbage: bytes, where: list[int]
) -> None:
    """Each request ends once, at the latest when the connection does."""
    results: list[list[Result]] = []
    session = start(results)
    feed(session, garbage, where)
    session.end(FailureKind.CLOSED, "gone")
    assert [len(mine) for mine in results] == [1] * REQUESTS


@given(st.lists(frames, max_size=25), cuts)
def test_any_frames_end_each_request_at_most_once(
    sent: list[bytes], where: list[int]
) -> None:
    """Told once, or returned once, and never both."""
    results: list[list[Result]] = []
    session = start(results)
    feed(session, b"".join(sent), where)
    session.expire(100.0)
    session.end(FailureKind.CLOSED, "gone")
    told = sum(len(mine) for mine in results)
    assert all(len(mine) <= 1 for mine in results)
    assert told + len(session.returned) == REQUESTS
    assert not session.streams


@given(st.lists(frames, max_size=25), cuts)
def test_the_cuts_between_reads_mean_nothing(
    sent: list[bytes], where: list[int]
) -> None:
    """Bytes in any pieces lead to the same answers as in one piece."""
    outcomes = []
    for pieces in (where, []):
        results: list[list[Result]] = []
        session = start(results)
        feed(session, b"".join(sent), pieces)
        outcomes.append((show(results), session.closed, session.fault, session.limit))
    assert outcomes[0] == outcomes[1]


@given(
    st.lists(
        st.tuples(st.sampled_from(["stream", "all", "setting"]), st.integers(1, 60)),
        max_size=60,
    )
)
def test_windows_are_never_overrun_nor_wasted(steps: list[tuple[str, int]]) -> None:
    """What is sent fits what was allowed, and nothing waits that may go."""
    session = ClientSession(max_streams=100, initial_streams=None, report=print)
    session.receive(codec.encode_settings({codec.SETTING_INITIAL_WINDOW_SIZE: 0}))
    body = bytes(range(256)) * 300
    results: list[Result] = []
    session.take_output()
    session.open(Exchange(HEAD, body, results.append, 10.0))
    stream_window, window, setting = 0, codec.DEFAULT_WINDOW, 0
    got = b""
    for kind, amount in [*steps, ("all", 1 << 20), ("stream", 1 << 20)]:
        if kind == "stream":
            stream_window += amount
            session.receive(codec.encode_window_update(1, amount))
        elif kind == "all":
            window += amount
            session.receive(codec.encode_window_update(0, amount))
        else:
            stream_window += amount * 100 - setting
            setting = amount * 100
            session.receive(
                codec.encode_settings({codec.SETTING_INITIAL_WINDOW_SIZE: setting})
            )
        out = session.take_output() if session.outbound.parts else b""
        at = 0
        while at < len(out):
            size_and_kind, _, _ = codec.FRAME_HEAD.unpack_from(out, at)
            size = size_and_kind >> 8
            if size_and_kind & 255 == codec.DATA:
                assert size <= codec.DEFAULT_MAX_FRAME
                got += out[at + 9 : at + 9 + size]
            at += 9 + size
        assert len(got) == max(len(got), min(stream_window, window, len(body)))
        assert len(got) <= window
    assert got == body
