"""aioapns, fitted to our endpoint, trust and provider token.

Imported late, because it loads h2 and pyOpenSSL. The library knows only Apple's hosts
and waits for ever for lost answers, hence the subclasses; nothing of it is patched.
They depend on its internals: a test names what a new version changes in those.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from aioapns import common, connection, exceptions
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, ResponseReceived, StreamReset
from h2.exceptions import ProtocolError

from tocsin.core.outcome import Outcome, Verdict
from tocsin.http2 import Dialer, Origin, dial
from tocsin.providers.apns_answers import ApnsAnswer
from tocsin.providers.outcomes import is_success

_IDLE_S = 3600
_CLOSE_TIMEOUT_S = 2.0


class AioapnsClient:
    """aioapns' connections to one origin."""

    def __init__(
        self,
        origin: str,
        tls: ssl.SSLContext,
        *,
        max_connections: int,
        timeout_s: float,
        authorization: Callable[[], str] | None,
    ) -> None:
        """`authorization` gives the header; `None` where a certificate is shown."""
        self._timeout_s = timeout_s
        self._pool = _Pool(Origin.parse(origin), tls, max_connections, authorization)
        self._alone = asyncio.Lock()

    async def send(
        self, path_token: str, payload: dict[str, Any], headers: Mapping[str, str]
    ) -> ApnsAnswer | Outcome:
        """Send one notification; the outcome where no answer came."""
        if "apns-id" not in headers:
            return await self._send(path_token, payload, headers)
        # The library finds an answer by its id: of two requests with the same id under
        # way, one would never end. So requests with an id of the caller's go alone.
        async with self._alone:
            return await self._send(path_token, payload, headers)

    async def close(self) -> None:
        """Close all connections."""
        self._pool.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self._pool.empty.wait()

    async def _send(
        self, path_token: str, payload: dict[str, Any], headers: Mapping[str, str]
    ) -> ApnsAnswer | Outcome:
        request = _request_of(path_token, payload, headers)
        chosen: _Protocol | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                chosen = cast("_Protocol", await self._pool.acquire())
                result = await chosen.send_notification(request)
        except TimeoutError:
            if chosen is None:
                return Outcome(Verdict.RETRY, "timeout", "no connection had room")
            # Else its place in the connection would stay taken for ever.
            chosen.forget(request.notification_id)
            return Outcome(
                Verdict.RETRY,
                "timeout",
                "no answer within the deadline",
                maybe_sent=True,
            )
        except exceptions.ConnectionError:
            return Outcome(Verdict.RETRY, "connect_failed", "aioapns cannot connect")
        except exceptions.ConnectionClosed:
            return _lost("the connection was lost")
        except _StreamReset as reset:
            return reset.outcome
        except ProtocolError as error:
            # The library counts streams wrongly from here on.
            if chosen is not None:
                chosen.close()
            return _lost(type(error).__name__)
        return ApnsAnswer(
            int(result.status or 0),
            result.description or "",
            result.timestamp if type(result.timestamp) is int else None,
            result.notification_id,
        )


def _lost(detail: str) -> Outcome:
    return Outcome(Verdict.RETRY, "connection_closed", detail, maybe_sent=True)


class _StreamReset(Exception):
    """The server gave one request up."""

    def __init__(self, code: int) -> None:
        refused = code == ErrorCodes.REFUSED_STREAM
        self.outcome = Outcome(
            Verdict.RETRY,
            "stream_refused" if refused else "stream_reset",
            f"the server reset the request: error {code}",
            maybe_sent=not refused,
        )
        super().__init__(self.outcome.detail)


class _Http2(H2Connection):
    """h2's connection, which keeps `resets`; the library only logs them.

    It also puts the id of the request into every answer: the library matches answers
    by that id, and would wait for ever where a server, or a gateway, leaves it out. It
    takes only a 200 for a success, so any other 2xx becomes one.
    """

    def __init__(self, find_id: Callable[[int], str | None]) -> None:
        super().__init__()
        self.resets: list[tuple[int, int]] = []
        self._find_id = find_id

    def receive_data(self, data: Any) -> list[Event]:
        events = super().receive_data(data)
        for event in events:
            if isinstance(event, StreamReset) and event.remote_reset:
                self.resets.append((event.stream_id, int(event.error_code)))
            elif isinstance(event, ResponseReceived):
                own = self._find_id(event.stream_id)
                if own is not None:
                    # Appended: the library reads headers into a
                    # dict, where the last one counts.
                    event.headers = [*event.headers, (b"apns-id", own.encode())]
                status = dict(event.headers).get(b":status", b"0")
                if is_success(int(status)):
                    event.headers = [*event.headers, (b":status", b"200")]
        # The library would log a reset and keep its request waiting.
        return [event for event in events if not isinstance(event, StreamReset)]


@dataclass(frozen=True, slots=True)
class _Word:
    """A push type; the library's own list lacks the newer ones."""

    value: str


class _Until(int):
    """A moment in the place of a time to live.

    The library adds a time to live to its own clock; added to anything, this stays the
    same moment. A difference computed here first would sometimes be a second off.
    """

    def __radd__(self, now: int) -> int:
        return int(self)


def _request_of(
    path_token: str, payload: dict[str, Any], headers: Mapping[str, str]
) -> Any:
    priority, expiration = headers.get("apns-priority"), headers.get("apns-expiration")
    return common.NotificationRequest(
        device_token=path_token,
        message=payload,
        notification_id=headers.get("apns-id"),
        time_to_live=_Until(expiration) if expiration else None,
        priority=int(priority) if priority else None,
        collapse_key=headers.get("apns-collapse-id"),
        push_type=cast("common.PushType", _Word(headers["apns-push-type"])),
        apns_topic=headers["apns-topic"],
    )


class _Authorization(connection.AuthorizationHeaderProvider):
    """The token that all share, instead of one per connection."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    def get_header(self) -> str:
        return self._read()


class _Pool(connection.APNsBaseConnectionPool):
    """Connections to our origin with our trust."""

    def __init__(
        self,
        origin: Origin,
        tls: ssl.SSLContext,
        max_connections: int,
        authorization: Callable[[], str] | None,
    ) -> None:
        super().__init__(max_connections=max_connections, max_connection_attempts=1)
        self._origin = origin
        self._tls = tls
        self._authorization = authorization
        self._dialer = Dialer(origin, self._attempt, _Protocol.close)
        self.empty = asyncio.Event()
        self.empty.set()

    async def create_connection(self) -> Any:
        protocol = await self._dialer.connect()
        self.empty.clear()
        return protocol

    async def _attempt(self, address: str, reached: Callable[[], None]) -> _Protocol:
        made: list[_Protocol] = []

        def make() -> _Protocol:
            provider = self._provider()
            made.append(_Protocol(self._origin, self.discard_connection, provider))
            return made[0]

        await dial(make, self._origin, address, self._tls, reached)
        return made[0]

    def discard_connection(self, connection: Any) -> None:
        # A connection may be lost before the library has put it into its list.
        if connection in self.connections:
            super().discard_connection(connection)
        if not self.connections:
            self.empty.set()

    def _provider(self) -> _Authorization | None:
        return _Authorization(self._authorization) if self._authorization else None


class _Protocol(connection.APNsTLSClientProtocol):
    """The library's connection, which widens its window and can give a request up."""

    INACTIVITY_TIME = _IDLE_S

    def __init__(
        self,
        origin: Origin,
        on_lost: Callable[[Any], None],
        authorization: _Authorization | None,
    ) -> None:
        # The library's type hint says NoReturn where it means None.
        never = cast("Callable[[Any], NoReturn]", on_lost)
        super().__init__("", None, never, authorization)
        self.APNS_SERVER = origin.authority
        self.conn: _Http2 = _Http2(self._find_id)
        # One stream until SETTINGS say more; the library would start with 1000.
        self.free_channels.bound = 1

    def forget(self, notification_id: str) -> None:
        """Give a request up: its stream ends, and its place is free."""
        self.requests.pop(notification_id, None)
        self.request_statuses.pop(notification_id, None)
        # A copy, since the loop deletes.
        for stream, owner in list(self.request_streams.items()):
            if owner == notification_id:
                del self.request_streams[stream]
                self._reset(stream)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Resets come after the answers of the same read: what is answered stays so.
        resets, self.conn.resets = self.conn.resets, []
        for stream, code in resets:
            self._on_reset(stream, code)

    def _on_reset(self, stream: int, code: int) -> None:
        waiting = self.requests.pop(self.request_streams.pop(stream, ""), None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(_StreamReset(code))
        self.free_channels.release()

    def _reset(self, stream: int) -> None:
        try:
            self.conn.reset_stream(stream)
        except ProtocolError:
            pass  # it ended on the server's side, without an answer
        else:
            self.flush()
        self.free_channels.release()

    def on_data_received(self, raw_data: bytes, stream_id: int) -> None:
        # The library never widens the window: it hangs after some thousand errors.
        self.conn.acknowledge_received_data(len(raw_data), stream_id)
        try:
            super().on_data_received(raw_data, stream_id)
        except (ValueError, AttributeError, KeyError):  # not Apple's JSON
            self._settle_by_status(stream_id)

    def on_stream_ended(self, stream_id: int) -> None:
        super().on_stream_ended(stream_id)
        self._settle_by_status(stream_id)  # the library keeps what has no reason

    def _find_id(self, stream: int) -> str | None:
        return self.request_streams.get(stream)

    def _settle_by_status(self, stream_id: int) -> None:
        """A body that is not Apple's, or none: the status has to do."""
        notification_id = self.request_streams.pop(stream_id, "")
        waiting = self.requests.pop(notification_id, None)
        status = self.request_statuses.pop(notification_id, "0")
        if waiting is not None and not waiting.done():
            waiting.set_result(common.NotificationResult(notification_id, status))
