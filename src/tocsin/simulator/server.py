"""The simulator as a whole: one TLS port, HTTP/2 and HTTP/1.1, services by path.

Push services have disjoint paths, so all imitated ones share the port; adding one
is adding a `Service` here. Only APNs has a port of its own, for its rules are about
connections. It must import no other room of the product.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from pathlib import Path
from typing import cast

from tocsin.simulator.apns import Apns
from tocsin.simulator.apns_keys import (
    BUNDLE_ID,
    KEY_ID,
    P12_PASSWORD,
    TEAM_ID,
    prepare_apns,
)
from tocsin.simulator.apns_listener import ApnsListener
from tocsin.simulator.certificates import Certificates, prepare_certificates
from tocsin.simulator.control import Control
from tocsin.simulator.exchange import Reply, Request, Service, json_reply
from tocsin.simulator.expo import Expo
from tocsin.simulator.faults import FaultPlan
from tocsin.simulator.fcm import FAST_REPLY, Fcm
from tocsin.simulator.hms import Hms
from tocsin.simulator.http1 import Http1Connection
from tocsin.simulator.http2 import PREFACE, Http2Connection
from tocsin.simulator.ledger import Ledger
from tocsin.simulator.one_signal import OneSignal
from tocsin.simulator.push_webhook import PushWebhook
from tocsin.simulator.pusher_beams import PusherBeams
from tocsin.simulator.pushpad import Pushpad
from tocsin.simulator.service_account import PROJECT_ID, prepare_service_account
from tocsin.simulator.webpush import WebPush

_CLOSE_TIMEOUT_S = 2.0


class PortTaken(OSError):
    """A port cannot be listened on: the common one, or that of the imitated APNs."""

    def __init__(self, port: int, error: OSError, *, is_apns: bool = False) -> None:
        self.port = port
        self.is_apns = is_apns
        self.reason = error.strerror or type(error).__name__
        if error.errno == errno.EADDRINUSE:
            self.reason = "the port is in use"
        super().__init__(error.errno, self.reason)


class Simulator:
    """Serves until `stop`; its files stay in `directory`.

    `fast` answers every send with a constant 200 without looking at token or body,
    and only counts; `/token` and `/control/` work as usual. `port` 0 takes a free
    one, and so does `apns_port`. After `start`, `origin` is what goes into
    `fcm.endpoint`, `apns_origin` into `apns.endpoint`.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        apns_port: int = 0,
        fast: bool = False,
    ) -> None:
        self._directory = Path(directory)
        self._host = host
        self._port = port
        self._apns_port = apns_port
        self._apns: ApnsListener | None = None
        self._fast = fast
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._services: tuple[Service, ...] = ()
        self._granting: tuple[Fcm | Hms, ...] = ()
        self.ledger = Ledger()
        self.faults = FaultPlan()
        self.webpush = WebPush(("",), self.ledger, self.faults)
        self.expo = Expo(self.ledger, self.faults)
        self.fast_path = f"/v1/projects/{PROJECT_ID}/messages:send" if fast else ""
        self.fast_reply = FAST_REPLY
        self.origin = ""
        self.ca_file = ""
        self.service_account_file = ""
        self.apns_origin = ""
        self.apns_bundle_id = BUNDLE_ID
        self.apns_team_id = TEAM_ID
        self.apns_key_id = KEY_ID
        self.apns_key_file = ""
        self.apns_p12_file = ""
        self.apns_p12_password = P12_PASSWORD

    async def start(self) -> None:
        """Write the files and listen.

        Raises `PortTaken` for a port, any other `OSError` for the folder.
        """
        loop = asyncio.get_running_loop()
        certificates = await loop.run_in_executor(
            None, prepare_certificates, self._directory, self._host
        )
        self._server = await self._listen(certificates)
        port = self._server.sockets[0].getsockname()[1]
        name = f"[{self._host}]" if ":" in self._host else self._host
        self.origin = f"https://{name}:{port}"
        self.ca_file = str(certificates.ca_file)
        account_file = self._directory / "service-account.json"
        account = await loop.run_in_executor(
            None, prepare_service_account, account_file, f"{self.origin}/token"
        )
        self.service_account_file = str(account_file)
        fcm = Fcm(account, self.ledger, self.faults)
        control = Control(
            self.ledger,
            self.faults,
            expire_access_tokens=self.expire_access_tokens,
            faults_changed=self._settings_changed,
            reset_faults=self._reset_faults,
        )
        hms = Hms(self.ledger, self.faults)
        self._granting = (fcm, hms)
        self.webpush = WebPush(
            (self.origin, f"https://localhost:{port}"), self.ledger, self.faults
        )
        plain = (OneSignal, PushWebhook, PusherBeams, Pushpad)
        others = [service(self.ledger, self.faults) for service in plain]
        self._services = (fcm, hms, self.webpush, self.expo, *others, control)
        await self._start_apns(certificates, name)
        await self._server.start_serving()

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is None:
            return
        if self._apns is not None:
            await self._apns.stop()
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.wait_for(self._server.wait_closed(), _CLOSE_TIMEOUT_S)
        self._server = None

    @property
    def apns(self) -> Apns:
        """The imitated APNs: its judge of tokens, its clock, its last requests."""
        if self._apns is None:
            raise RuntimeError("the simulator is not started")
        return self._apns.apns

    def expire_access_tokens(self) -> int:
        """Make every access token granted so far invalid; returns how many."""
        return sum(service.expire_access_tokens() for service in self._granting)

    # -- Site: what connections ask ------------------------------------------

    @property
    def max_streams(self) -> int:
        """What SETTINGS announce."""
        return self.faults.max_streams

    @property
    def goaway_after(self) -> int:
        """Requests per connection until GOAWAY, 0 for never."""
        return self.faults.goaway_after

    def answer(self, request: Request) -> Reply:
        """Ask the services in turn; a path of none of them is 404."""
        for service in self._services:
            reply = service.answer(request)
            if reply is not None:
                return reply
        self.ledger.count("unknown_path")
        return json_reply(404, {"error": f"no such path: {request.path}"})

    def count_fast(self, count: int) -> None:
        """Count answers of the fast mode."""
        self.ledger.fast_answers += count

    # ------------------------------------------------------------------------

    async def _listen(self, certificates: Certificates) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(
                lambda: _Connection(self, self._connections),
                self._host,
                self._port,
                ssl=certificates.server_context(),
                start_serving=False,
            )
        except OSError as error:
            raise PortTaken(self._port, error) from error

    async def _start_apns(self, certificates: Certificates, name: str) -> None:
        files, judge = await asyncio.get_running_loop().run_in_executor(
            None, prepare_apns, self._directory
        )
        apns = Apns(judge, self.ledger, self.faults)
        self._apns = ApnsListener(apns, self.ledger, self.faults, fast=self._fast)
        try:
            port = await self._apns.start(
                self._host, self._apns_port, certificates.asking_context()
            )
        except OSError as error:
            raise PortTaken(self._apns_port, error, is_apns=True) from error
        self.apns_origin = f"https://{name}:{port}"
        self.apns_key_file = str(files.key_file)
        self.apns_p12_file = str(files.p12_file)

    def _settings_changed(self) -> None:
        if self._apns is not None:
            self._apns.settings_changed()
        for connection in self._connections:
            connection.settings_changed()

    def _reset_faults(self) -> None:
        fresh = FaultPlan()
        for name in FaultPlan.__slots__:
            setattr(self.faults, name, getattr(fresh, name))
        self.apns.reset()
        self._settings_changed()


class _Connection(asyncio.Protocol):
    """Chooses the HTTP version by ALPN, or by the first bytes where there is none."""

    def __init__(self, site: Simulator, register: set[_Connection]) -> None:
        self._site = site
        self._register = register
        self._transport: asyncio.Transport | None = None
        self._speaker: Http1Connection | Http2Connection | None = None
        self._first = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: uvloop's transports have no common base with asyncio's.
        self._transport = stream = cast("asyncio.Transport", transport)
        self._register.add(self)
        self._site.ledger.connections += 1
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        chosen = tls.selected_alpn_protocol() if tls is not None else None
        if chosen == "h2":
            self._speaker = Http2Connection(stream, self._site)
        elif chosen == "http/1.1":
            self._speaker = Http1Connection(stream, self._site)

    def data_received(self, data: bytes) -> None:
        if self._speaker is None:
            self._first += data
            if PREFACE.startswith(self._first[: len(PREFACE)]):
                if len(self._first) < len(PREFACE):
                    return
                speaks: type[Http1Connection | Http2Connection] = Http2Connection
            else:
                speaks = Http1Connection
            self._speaker = speaks(
                cast("asyncio.Transport", self._transport), self._site
            )
            data, self._first = self._first, b""
        self._speaker.receive(data)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._register.discard(self)
        if self._speaker is not None:
            self._speaker.lost()

    def settings_changed(self) -> None:
        if self._speaker is not None:
            self._speaker.settings_changed()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
