"""Callers of the API: each makes one send of the plan and notes what it was told."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.disaster.schedule import TOPIC, Send

_PAUSE_S = 0.2
_ONCE_S, _REPEAT_S = 8.0, 3.0


@dataclass
class Record:
    """What became of one send as its callers know it.

    `uids` are those of answers without error; any makes the send an accepted one.
    `cancelled` says that a cancel was answered; `expires_at` is a Unix time.
    """

    send: Send
    uid: str
    uids: set[str] = field(default_factory=set)
    cancelled: bool = False
    expires_at: int = 0
    refusals: list[str] = field(default_factory=list)
    calls: int = 0

    @property
    def accepted(self) -> bool:
        return bool(self.uids)


class Callers:
    """One thread for each call of the plan; `doors` are ports of the HTTP API."""

    def __init__(self, doors: Sequence[int], began: float, deadline_s: float) -> None:
        self._doors = doors
        self._began = began
        self._ends = began + deadline_s
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.records: list[Record] = []

    def start(self, send: Send, key: str) -> None:
        """Begin to wait for its time; `key` makes its uid one of this run."""
        record = Record(send, "" if send.style == "once" else f"{key}.{send.name}")
        self.records.append(record)
        request = _request(send)
        # Whole seconds, as the API has them, and the same in every repeat.
        at = time.time() + send.at_s
        if send.due_in_s:
            request["send_at"] = int(at + send.due_in_s) + 1
        if send.expires_in_s:
            record.expires_at = int(at + send.expires_in_s) + 1
            request["notification"]["expire_at"] = record.expires_at
        if record.uid:
            request["uid"] = record.uid
        for door in range(2 if send.style == "twin" else 1):
            self._spawn(partial(self._send, record, request, door))

    def join(self, timeout_s: float) -> bool:
        """Whether all have ended by then."""
        end = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Let those who still repeat give up."""
        self._stop.set()

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _send(self, record: Record, request: dict[str, Any], door: int) -> None:
        send = record.send
        if not self._wait_until(self._began + send.at_s):
            return
        called = time.monotonic()
        method = "send_push_notification"
        if send.style == "once":
            self._call(record, method, request, door, _ONCE_S)
        else:
            self._repeat(record, method, request, door)
        if not record.accepted:
            return
        if send.cancel_in_s and self._wait_until(called + send.cancel_in_s):
            wish = {"uid": record.uid}
            record.cancelled = self._repeat(record, "cancel_push", wish, door + 1)
        if send.style == "again" and self._wait_until(time.monotonic() + 1.5):
            self._repeat(record, method, request, door + 1)

    def _repeat(
        self, record: Record, method: str, request: dict[str, Any], door: int
    ) -> bool:
        """Call one door after the other until one answers without an error."""
        while time.monotonic() < self._ends and not self._stop.is_set():
            if self._call(record, method, request, door, _REPEAT_S):
                return True
            door += 1
            self._stop.wait(_PAUSE_S)
        return False

    def _call(
        self,
        record: Record,
        method: str,
        request: dict[str, Any],
        door: int,
        timeout_s: float,
    ) -> bool:
        record.calls += 1
        port = self._doors[door % len(self._doors)]
        try:
            answer = call(port, method, request, timeout_s=timeout_s)
        except (OSError, http.client.HTTPException, ValueError):
            return False
        if "result" not in answer:
            record.refusals.append(json.dumps(answer.get("error", answer)))
            return False
        if uid := answer["result"].get("uid"):
            record.uids.add(uid)
        return True

    def _wait_until(self, moment: float) -> bool:
        return not self._stop.wait(max(0.0, moment - time.monotonic()))


def call(
    port: int, method: str, request: dict[str, Any], *, timeout_s: float
) -> dict[str, Any]:
    """One call of the HTTP API; raises as `http.client` does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        headers = {"X-API-Key": "k", "Content-Type": "application/json"}
        connection.request("POST", f"/api/{method}", json.dumps(request), headers)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer


def _request(send: Send) -> dict[str, Any]:
    recipients: dict[str, Any] = {"filter": {"topics": [TOPIC]}}
    if send.kind == "tokens":
        recipients = {"fcm_tokens": list(send.tokens)}
    elif send.kind == "users":
        # The registry is filled so that a device's number is its user's as well.
        users = [f"u{token.rpartition('.')[2]}" for token in send.tokens]
        recipients = {"filter": {"users": users}}
    message = {"data": {"of": send.name}}
    return {
        "recipient": recipients,
        "notification": {"fcm": {"message": message}},
    }
