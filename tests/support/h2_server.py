"""A scripted HTTP/2 server over the `h2` library, to show a client every bad day.

A script is a coroutine that gets each connection as an `H2Peer`; what it does not do
by itself, the peer does not do either: no answer, no window update.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

WAIT_S = 10.0


@dataclass
class Request:
    """One request as the server saw it."""

    stream: int
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


class H2Peer:
    """One accepted connection. `number` counts them from 1."""

    def __init__(
        self,
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: dict[SettingCodes, int],
        *,
        acknowledge: bool,
    ) -> None:
        self.number = number
        self.events: list[Event] = []
        self.seen: list[Request] = []
        self.resets: dict[int, int] = {}
        self.goodbye: ConnectionTerminated | None = None
        self.conn = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.conn.local_settings.update(dict(settings.items()))
        self.conn.local_settings.acknowledge()
        self._acknowledge = acknowledge
        self._reader = reader
        self.writer = writer
        self._open: dict[int, Request] = {}
        self._complete: asyncio.Queue[Request | None] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self.ended = asyncio.Event()

    # ---------------------------------------------------------------- reading

    async def read(self) -> None:
        """Feed what the client sends to h2 until it goes; started by the server."""
        try:
            while data := await self._reader.read(1 << 16):
                try:
                    events = self.conn.receive_data(data)
                except ProtocolError:
                    self.flush()
                    raise
                for event in events:
                    self._take(event)
                self.flush()
                async with self._changed:
                    self._changed.notify_all()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            self.ended.set()
            self._complete.put_nowait(None)
            async with self._changed:
                self._changed.notify_all()

    def _take(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, RequestReceived):
            request = Request(event.stream_id, dict(event.headers))  # type: ignore[arg-type]
            self._open[event.stream_id] = request
            self.seen.append(request)
        elif isinstance(event, DataReceived):
            self._open[event.stream_id].body += event.data
            if self._acknowledge:
                with contextlib.suppress(ProtocolError):
                    self.conn.acknowledge_received_data(
                        event.flow_controlled_length, event.stream_id
                    )
        elif isinstance(event, StreamEnded):
            self._complete.put_nowait(self._open[event.stream_id])
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = int(event.error_code)
        elif isinstance(event, ConnectionTerminated):
            self.goodbye = event

    async def request(self) -> Request:
        """The next request that is complete."""
        request = await asyncio.wait_for(self._complete.get(), WAIT_S)
        if request is None:
            raise ConnectionError("the client went away")
        return request

    async def requests(self, count: int) -> list[Request]:
        """The next `count` complete requests."""
        return [await self.request() for _ in range(count)]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that the client sends makes the condition true."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(condition), WAIT_S)

    # ---------------------------------------------------------------- writing

    def flush(self) -> None:
        """Write what h2 has to say."""
        data = self.conn.data_to_send()
        if data and not self.writer.is_closing():
            self.writer.write(data)

    def raw(self, data: bytes) -> None:
        """Write bytes behind h2's back."""
        self.flush()
        self.writer.write(data)

    def respond(
        self,
        stream: int,
        status: int = 200,
        body: bytes = b"{}",
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Answer at once; the body must fit the client's windows."""
        fields = [(":status", str(status)), *headers]
        self.conn.send_headers(stream, fields, end_stream=not body)
        if body:
            self.conn.send_data(stream, body, end_stream=True)
        self.flush()

    async def respond_slowly(self, stream: int, status: int, body: bytes) -> None:
        """Answer within the client's windows, waiting for its updates."""
        self.conn.send_headers(stream, [(":status", str(status))])
        view = memoryview(body)
        while view:
            await self.until(
                lambda: (
                    self.conn.local_flow_control_window(stream) > 0
                    or self.ended.is_set()
                )
            )
            window = self.conn.local_flow_control_window(stream)
            size = min(window, len(view), self.conn.max_outbound_frame_size)
            self.conn.send_data(stream, bytes(view[:size]))
            view = view[size:]
            self.flush()
        self.conn.end_stream(stream)
        self.flush()

    def change(self, settings: dict[SettingCodes, int]) -> None:
        """Send new settings."""
        self.conn.update_settings(dict(settings.items()))
        self.flush()

    def refuse(self, stream: int, code: int) -> None:
        """RST_STREAM."""
        self.conn.reset_stream(stream, code)
        self.flush()

    def say_goaway(self, last: int, code: int = 0, debug: bytes = b"") -> None:
        """GOAWAY, made by hand, so that h2 goes on with the streams below it."""
        payload = last.to_bytes(4, "big") + code.to_bytes(4, "big") + debug
        self.raw(len(payload).to_bytes(3, "big") + b"\x07\x00" + bytes(4) + payload)

    async def hang_up(self) -> None:
        """Close the socket."""
        self.flush()
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()

    def half_close(self) -> None:
        """Send FIN and keep reading (clear text only)."""
        self.flush()
        self.writer.write_eof()

    def drop(self) -> None:
        """Reset the connection."""
        transport = self.writer.transport
        transport.abort()


Script = Callable[[H2Peer], Awaitable[None]]


async def answer_all(peer: H2Peer) -> None:
    """The script of a good server."""
    while True:
        peer.respond((await peer.request()).stream)


async def _drop_all(writers: list[asyncio.StreamWriter]) -> None:
    for writer in writers:
        writer.transport.abort()
    for writer in writers:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def serve_raw(
    accept: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None],
    port: int = 0,
) -> AsyncIterator[int]:
    """A server that does with a connection what `accept` does; yields its port."""
    writers: list[asyncio.StreamWriter] = []

    def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        accept(reader, writer)

    listener = await asyncio.start_server(note, "127.0.0.1", port)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        await _drop_all(writers)


class H2Server:
    """The listening side; `peers` are the connections in the order they came."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.peers: list[H2Peer] = []
        self.errors: list[BaseException] = []

    @property
    def seen(self) -> list[Request]:
        """All requests on all connections."""
        return [request for peer in self.peers for request in peer.seen]


@contextlib.asynccontextmanager
async def serve_h2(
    script: Script = answer_all,
    *,
    tls: ssl.SSLContext | None = None,
    settings: dict[SettingCodes, int] | None = None,
    acknowledge: bool = True,
    port: int = 0,
    host: str = "127.0.0.1",
) -> AsyncIterator[H2Server]:
    """Listen on the loopback (0: any port); errors of scripts raise at the end."""
    tasks: list[asyncio.Task[None]] = []
    first = {SettingCodes.MAX_CONCURRENT_STREAMS: 100, **(settings or {})}

    async def play(peer: H2Peer, writer: asyncio.StreamWriter) -> None:
        reading = asyncio.create_task(peer.read())
        try:
            peer.conn.initiate_connection()
            peer.flush()
            await script(peer)
            await peer.ended.wait()
        except ConnectionError:
            pass
        except (Exception, TimeoutError) as error:  # noqa: BLE001 - raised at the end
            server.errors.append(error)
        finally:
            reading.cancel()
            results = await asyncio.gather(reading, return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    server.errors.append(result)
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(server.peers) + 1
        peer = H2Peer(number, reader, writer, first, acknowledge=acknowledge)
        server.peers.append(peer)
        tasks.append(asyncio.create_task(play(peer, writer)))

    listener = await asyncio.start_server(accept, host, port, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    server = H2Server(f"{'https' if tls else 'http'}://{host}:{port}")
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _drop_all([peer.writer for peer in server.peers])
    if server.errors:
        raise server.errors[0]
