"""The simulator as a whole: one TLS port, HTTP/2 and HTTP/1.1, services by path.

Push services have disjoint paths, so all imitated ones share the port; one whose rules
are about connections has a port of its own. Of the product's rooms it reads the table
of services alone, for which ones to imitate.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

from tocsin.core.push_services import SERVICES
from tocsin.simulator.certificates import Certificates, prepare_certificates
from tocsin.simulator.control import Control
from tocsin.simulator.exchange import Reply, Request, json_reply
from tocsin.simulator.faults import FaultPlan
from tocsin.simulator.http1 import Http1Connection
from tocsin.simulator.http2 import PREFACE, Http2Connection
from tocsin.simulator.imitation import Imitation, Place
from tocsin.simulator.ledger import Ledger

T = TypeVar("T", bound=Imitation)

_CLOSE_TIMEOUT_S = 2.0


class PortTaken(OSError):
    """A port cannot be listened on: the common one, or the own one of a `service`."""

    def __init__(self, port: int, error: OSError, *, service: str = "") -> None:
        self.port = port
        self.service = service
        self.reason = error.strerror or type(error).__name__
        if error.errno == errno.EADDRINUSE:
            self.reason = "the port is in use"
        super().__init__(error.errno, self.reason)


class Simulator:
    """Serves until `stop`; its files stay in `directory`.

    `fast` answers every send with a constant 200 without looking at token or body,
    and only counts; `/token` and `/control/` work as usual. `port` 0 takes a free
    one; `own_ports` are those of services that do not share it, a free one unless
    given. What a client needs is in `settings` after `start`.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        own_ports: Mapping[str, int] = MappingProxyType({}),
        fast: bool = False,
    ) -> None:
        self._directory = Path(directory)
        self._host = host
        self._port = port
        self._own_ports = own_ports
        self._fast = fast
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._imitations: dict[str, Imitation] = {}
        self._places: dict[str, Place] = {}
        self._control: Control | None = None
        self.ledger = Ledger()
        self.faults = FaultPlan()
        self.fast_path = ""
        self.fast_reply = Reply(200)
        self.origin = ""
        self.ca_file = ""

    async def start(self) -> None:
        """Write the files and listen.

        Raises `PortTaken` for a port, any other `OSError` for the folder.
        """
        certificates = await asyncio.get_running_loop().run_in_executor(
            None, prepare_certificates, self._directory, self._host
        )
        self._server = await self._listen(certificates)
        port = self._server.sockets[0].getsockname()[1]
        name = f"[{self._host}]" if ":" in self._host else self._host
        self.origin = f"https://{name}:{port}"
        self.ca_file = str(certificates.ca_file)
        self._control = Control(
            self.ledger,
            self.faults,
            expire_access_tokens=self.expire_access_tokens,
            faults_changed=self._settings_changed,
            reset_faults=self._reset_faults,
        )
        for service in SERVICES.values():
            place = Place(
                directory=self._directory,
                host=self._host,
                name=name,
                origin=self.origin,
                port=port,
                own_port=self._own_ports.get(service.name, 0),
                certificates=certificates,
                ledger=self.ledger,
                faults=self.faults,
                fast=self._fast,
            )
            try:
                started = await service.imitate(place)
            except OSError as error:
                if not service.has_own_port:
                    raise
                raise PortTaken(place.own_port, error, service=service.name) from error
            self._places[service.name] = place
            self._imitations[service.name] = started
            if self._fast and started.fast_path:
                self.fast_path = started.fast_path
                self.fast_reply = started.fast_reply
        # Last: a client that connects earlier would find services missing.
        await self._server.start_serving()

    async def stop(self) -> None:
        """Close the ports and every connection."""
        if self._server is None:
            return
        for each in self._imitations.values():
            await each.stop()
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await asyncio.wait_for(self._server.wait_closed(), _CLOSE_TIMEOUT_S)
        self._server = None

    def of(self, kind: type[T]) -> T:
        """The imitation of that class, for tests to look into."""
        for each in self._imitations.values():
            if isinstance(each, kind):
                return each
        raise RuntimeError(f"the simulator is not started, or has no {kind.__name__}")

    def settings(self) -> dict[str, Mapping[str, Any]]:
        """The keys that lead here, by service."""
        return {
            name: each.settings(self._places[name])
            for name, each in self._imitations.items()
        }

    def facts(self) -> list[tuple[str, str]]:
        """What a person needs to send here by hand."""
        return [
            fact
            for name, each in self._imitations.items()
            for fact in each.facts(self._places[name])
        ]

    def new_token(self, service: str, name: str) -> str:
        """What a device of that name would register as its token."""
        return self._imitations[service].new_token(name)

    def expire_access_tokens(self) -> int:
        """Make every access token granted so far invalid; returns how many."""
        return sum(each.expire_access_tokens() for each in self._imitations.values())

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
        for each in self._imitations.values():
            reply = each.answer(request)
            if reply is not None:
                return reply
        if self._control is not None:
            reply = self._control.answer(request)
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

    def _settings_changed(self) -> None:
        for each in self._imitations.values():
            each.settings_changed()
        for connection in self._connections:
            connection.settings_changed()

    def _reset_faults(self) -> None:
        fresh = FaultPlan()
        for name in FaultPlan.__slots__:
            setattr(self.faults, name, getattr(fresh, name))
        for each in self._imitations.values():
            each.reset()
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
            # Without ALPN (aioapns has none) the first bytes tell: HTTP/2
            # begins with its preface.
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
