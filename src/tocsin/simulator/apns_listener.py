"""The port of the imitated APNs: HTTP/2 over TLS, with or without ALPN.

Apple's rules for connections live here: one stream until a credential was shown, a
client certificate where one is offered, one key per connection. No answer is decided.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, cast

from tocsin.simulator.apns import FAST_REPLY, SEND_PATH, Apns, Peer
from tocsin.simulator.apns_keys import (
    BUNDLE_ID,
    KEY_ID,
    P12_PASSWORD,
    TEAM_ID,
    prepare_apns,
)
from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.faults import FaultPlan
from tocsin.simulator.http2 import Http2Connection
from tocsin.simulator.imitation import Imitation, Place
from tocsin.simulator.ledger import Ledger

_CLOSE_TIMEOUT_S = 2.0


class ApnsListener(Imitation):
    """Listens from `listen` to `stop`; `port` 0 takes a free one."""

    def __init__(
        self, apns: Apns, ledger: Ledger, faults: FaultPlan, *, fast: bool = False
    ) -> None:
        self.apns = apns
        self.ledger = ledger
        self.faults = faults
        self.fast = fast
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self.origin = ""
        self.key_file = ""
        self.p12_file = ""

    @classmethod
    async def start(cls, place: Place) -> ApnsListener:
        """Write keys and a certificate, and listen. Raises `OSError`."""
        files, judge = await asyncio.get_running_loop().run_in_executor(
            None, prepare_apns, place.directory
        )
        apns = Apns(judge, place.ledger, place.faults)
        started = cls(apns, place.ledger, place.faults, fast=place.fast)
        port = await started.listen(
            place.host, place.own_port, place.certificates.asking_context()
        )
        started.origin = f"https://{place.name}:{port}"
        started.key_file = str(files.key_file)
        started.p12_file = str(files.p12_file)
        return started

    def settings(self, place: Place) -> dict[str, Any]:
        """See `Imitation`."""
        return {
            "bundle_id": BUNDLE_ID,
            "auth_type": "token",
            "token_key_file": str(Path(self.key_file).absolute()),
            "token_key_id": KEY_ID,
            "token_team_id": TEAM_ID,
            "endpoint": self.origin,
            "ca_file": place.ca_file,
        }

    def facts(self, place: Place) -> tuple[tuple[str, str], ...]:  # noqa: ARG002 - the port's
        """See `Imitation`."""
        return (
            ("APNs origin", self.origin),
            ("APNs bundle id", BUNDLE_ID),
            ("APNs team id", TEAM_ID),
            ("APNs key id", KEY_ID),
            ("APNs key", self.key_file),
            ("APNs p12", self.p12_file),
            ("APNs p12 password", P12_PASSWORD),
        )

    def reset(self) -> None:
        """See `Imitation`."""
        self.apns.reset()

    async def listen(self, host: str, port: int, context: ssl.SSLContext) -> int:
        """Listen; returns the port. Raises `OSError` where it is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), host, port, ssl=context
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is None:
            return
        self._server.close()
        # A copy: an aborted connection takes itself out.
        for connection in list(self.connections):
            connection.abort()
        await asyncio.wait_for(self._server.wait_closed(), _CLOSE_TIMEOUT_S)
        self._server = None

    def settings_changed(self) -> None:
        """The stream limit may have moved: tell every peer."""
        for connection in self.connections:
            connection.settings_changed()


class _Connection(asyncio.Protocol):
    """One peer, and the site that its HTTP/2 side asks."""

    def __init__(self, listener: ApnsListener) -> None:
        self._listener = listener
        self._peer = Peer()
        self._transport: asyncio.Transport | None = None
        self._speaker: Http2Connection | None = None
        self.fast_path = SEND_PATH if listener.fast else ""
        self.fast_reply = FAST_REPLY

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports have no common base with asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._listener.connections.add(self)
        self._listener.ledger.connections += 1
        self._peer.app = _app_of(transport.get_extra_info("peercert"))
        self._peer.known = bool(self._peer.app) or self._listener.fast
        self._speaker = Http2Connection(self._transport, self)

    def data_received(self, data: bytes) -> None:
        if self._speaker is not None:
            self._speaker.receive(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._listener.connections.discard(self)
        if self._speaker is not None:
            self._speaker.lost()

    def settings_changed(self) -> None:
        if self._speaker is not None:
            self._speaker.settings_changed()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # -- Site: what the HTTP/2 side asks ---------------------------------------

    @property
    def max_streams(self) -> int:
        """One, until the peer has shown a good credential."""
        return self._listener.faults.max_streams if self._peer.known else 1

    @property
    def goaway_after(self) -> int:
        """Requests per connection until GOAWAY, 0 for never."""
        return self._listener.faults.goaway_after

    def answer(self, request: Request) -> Reply:
        """The service's reply; the first good credential lifts the limit."""
        was_known = self._peer.known
        reply = self._listener.apns.answer(request, self._peer)
        if self._peer.known and not was_known:
            # After this answer has been written: first the success, then
            # SETTINGS.
            asyncio.get_running_loop().call_soon(self.settings_changed)
        return reply

    def count_fast(self, count: int) -> None:
        """Count answers of the fast mode."""
        self._listener.ledger.fast_answers += count


def _app_of(certificate: dict[str, Any] | None) -> str:
    """The UID of a client certificate that was verified, or ""."""
    for part in (certificate or {}).get("subject", ()):
        for name, value in part:
            if name == "userId":
                return str(value)
    return ""
