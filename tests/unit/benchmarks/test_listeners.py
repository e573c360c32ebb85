"""What the measurements of the realtime corridor must not take for a good answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from benchmarks import listeners
from benchmarks.publish import BATCH, Offsets

from tocsin.protocol import api_pb2

_ERROR = api_pb2.Error(code=107, message="no")


def _published(offset: int) -> api_pb2.PublishResult:
    return api_pb2.PublishResult(offset=offset, epoch="e")


def _message(offset: int) -> bytes:
    answer = api_pb2.PublishResponse(result=_published(offset))
    return answer.SerializeToString()


def _batch(offsets: range) -> bytes:
    replies = [api_pb2.Reply(publish=_published(offset)) for offset in offsets]
    return api_pb2.BatchResponse(replies=replies).SerializeToString()


def test_good_answers_pass() -> None:
    """Offsets of their own are good, over every door."""
    offsets = Offsets(expected=True)
    offsets.check_message(_message(1))
    offsets.check_json(b'{"result":{"offset":2,"epoch":"e"}}')
    offsets.check_batch(_batch(range(3, 3 + BATCH)))
    Offsets(expected=False).check_message(_message(0))


@pytest.mark.parametrize(
    "check",
    [
        lambda offsets: offsets.check_message(b""),
        lambda offsets: offsets.check_message(_message(0)),
        lambda offsets: offsets.check_message(_message(7)),
        lambda offsets: offsets.check_message(
            api_pb2.PublishResponse(error=_ERROR).SerializeToString()
        ),
        lambda offsets: offsets.check_json(b'{"error":{"code":107,"message":"no"}}'),
        lambda offsets: offsets.check_json(b'{"result":{}}'),
        lambda offsets: offsets.check_batch(_batch(range(10, 9 + BATCH))),
        lambda offsets: offsets.check_batch(_batch(range(BATCH))),
    ],
)
def test_bad_answers_end_the_run(check: Callable[[Offsets], None]) -> None:
    """Errors, empty messages, repeated offsets and missing replies are found."""
    offsets = Offsets(expected=True)
    offsets.check_message(_message(7))
    with pytest.raises((RuntimeError, KeyError)):
        check(offsets)


def _heard(*pieces: str) -> listeners.Listener:
    listener = listeners.Listener(lambda _count: None, keeps=True)
    for piece in pieces:
        listener.data_received(piece.encode())
    return listener


def test_every_publisher_in_its_order() -> None:
    """Publishers may mix and reads may be cut anywhere."""
    listener = _heard("..#0.0.x..#1.0.x", "..#1.", "1.x..#0.1.x")
    assert listener.received == 4
    listeners.check_order(listener, publishers=2, messages=2)


@pytest.mark.parametrize(
    "pieces",
    [
        ["#0.0.x", "#1.0.x", "#1.1.x"],
        ["#0.1.x", "#0.0.x", "#1.0.x", "#1.1.x"],
        ["#0.0.x", "#0.0.x", "#0.1.x", "#1.0.x", "#1.1.x"],
    ],
)
def test_loss_and_disorder_are_found(pieces: list[str]) -> None:
    """A publication that is missing, late or doubled ends the run."""
    with pytest.raises(RuntimeError):
        listeners.check_order(_heard(*pieces), publishers=2, messages=2)
