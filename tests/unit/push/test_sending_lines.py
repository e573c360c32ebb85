"""The line that an accepted send writes: it begins the trail through the logs."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.jobs import ManualClock
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import MemoryUids

from tocsin.core.device import DeviceFilter
from tocsin.core.errors import BadRequest, InternalError
from tocsin.core.push import (
    Body,
    OnlineFirst,
    RawRecipient,
    SendRequest,
    TargetKind,
)
from tocsin.push.sending import SendService

NOW_MS = 1_800_000_000_000
SECRET = "hush-token"
MESSAGE = Body(b'{"notification": {"title": "hush-title"}}')


class _Online:
    """Lets everything be published, and publishes nowhere."""

    def check(self, first: OnlineFirst) -> None:
        """Everything may be published."""

    async def publish(self, first: OnlineFirst, **_: Any) -> None:
        """Nowhere."""


def _service(**options: Any) -> SendService:
    uids = options.pop("uids", MemoryUids())
    chosen: dict[str, Any] = {
        "enabled_providers": ("fcm", "apns"),
        "has_database": True,
        **options,
    }
    clock = ManualClock(NOW_MS)
    return SendService(MemoryJobQueue(clock), uids, clock=clock, **chosen)


def _request(**changes: Any) -> SendRequest:
    values: dict[str, Any] = {
        "recipient": DeviceFilter(topics=("news",)),
        "bodies": {"fcm": MESSAGE, "apns": MESSAGE},
        "correlation_id": "req-1",
        **changes,
    }
    return SendRequest(**values)


async def _lines(service: SendService, *requests: SendRequest) -> list[Any]:
    with capture_logs() as lines:
        for request in requests:
            await service.send(request)
    assert "hush" not in str(lines)
    return lines


async def test_an_accepted_send() -> None:
    """One line with every id, and where the send goes."""
    (line,) = await _lines(_service(), _request(uid="u"))
    push_id = line.pop("push_id")
    assert len(push_id) == 32
    assert line == {
        "event": "send accepted",
        "log_level": "info",
        "uid": "u",
        "request_id": "req-1",
        "recipient": "filter",
        "providers": ["apns", "fcm"],
    }


async def test_a_raw_send() -> None:
    """Recipients are counted, and their tokens are in no log."""
    raw = RawRecipient("fcm", TargetKind.TOKEN, (SECRET, SECRET + "2"))
    request = _request(recipient=raw, bodies={"fcm": MESSAGE})
    (line,) = await _lines(_service(), request)
    assert line["push_id"] == line["uid"]
    assert (line["recipient"], line["recipients"]) == ("tokens", 2)
    assert line["providers"] == ["fcm"]


async def test_what_follows() -> None:
    """A later moment, and a channel that comes first, are named."""
    service = _service(online=_Online())
    later = _request(send_at_ms=NOW_MS + 60_000)
    first = _request(online_first=OnlineFirst("news", data=b'"hush"', wait_ms=1000))
    scheduled, online = await _lines(service, later, first)
    assert scheduled["send_at"] == NOW_MS // 1000 + 60
    assert "online_first" not in scheduled
    assert online["online_first"] == "news"
    assert "send_at" not in online


async def test_a_repeated_uid() -> None:
    """The line of a repeat has the push id of the first call, and its own request."""
    first, second = await _lines(
        _service(), _request(uid="u"), _request(uid="u", correlation_id="req-2")
    )
    assert second["event"] == "send repeated"
    assert second["log_level"] == "info"
    assert second["push_id"] == first["push_id"]
    assert (second["uid"], second["request_id"]) == ("u", "req-2")


async def test_an_expired_send() -> None:
    """What is not queued, since its time is over, says so."""
    (line,) = await _lines(_service(), _request(uid="u", expire_at_ms=NOW_MS - 1))
    assert line["event"] == "send expired"
    assert (line["uid"], line["request_id"]) == ("u", "req-1")


async def test_it_is_told_as_soon_as_it_is_kept() -> None:
    """A send that is queued goes out, even where the call fails behind that."""
    uids = MemoryUids()
    uids.failures = [InternalError("database is away")]
    service = _service(uids=uids)
    with capture_logs() as lines, pytest.raises(InternalError):
        await service.send(_request(uid="u"))
    assert [line["event"] for line in lines] == ["send accepted"]


async def test_a_refused_send_is_no_accepted_one() -> None:
    """Its line is the one of the failed call."""
    with capture_logs() as lines, pytest.raises(BadRequest):
        await _service().send(_request(recipient=DeviceFilter()))
    assert lines == []
