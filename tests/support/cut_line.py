"""A line between clients and servers that a test can cut and mend."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress


class Line:
    """Copies bytes both ways; while it is cut, every connection ends at once.

    Servers take turns, as behind a balancer; one that does not answer is passed over.
    While `is_deaf`, nothing comes through from clients, and nobody is told; after
    `forget` that is so for the connections there were until then, for ever. Bytes take
    `delay_s` each way, as to a place that far away.
    """

    def __init__(self, server_ports: tuple[int, ...], delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self._server_ports = server_ports
        self._turns = itertools.cycle(server_ports)
        self._writers: set[asyncio.StreamWriter] = set()
        self.is_cut = False
        self.is_deaf = False
        self.port = 0
        self._carried = 0
        self._forgotten = 0

    def lead_to(self, *server_ports: int) -> None:
        """From now on new connections end there; those that are open stay."""
        self._server_ports = server_ports
        self._turns = itertools.cycle(server_ports)

    def forget(self) -> None:
        """Carry nothing more for those that are connected, as some balancers do."""
        self._forgotten = self._carried

    def cut(self) -> None:
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self.is_cut = False

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry one connection to its end."""
        self._carried += 1
        number = self._carried
        if self.is_cut:
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await self._dial()
        except OSError:  # nobody is there, and the client shall see that
            writer.transport.abort()
            return
        self._writers |= {writer, up_writer}
        if self.is_cut:  # since the server was dialled
            self.cut()
        await asyncio.gather(
            self._copy(reader, up_writer, number, is_up=True),
            self._copy(up_reader, writer, number),
        )
        self._writers -= {writer, up_writer}

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in self._server_ports[1:]:
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", next(self._turns))
        return await asyncio.open_connection("127.0.0.1", next(self._turns))

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        *,
        is_up: bool = False,
    ) -> None:
        late = _LateWriter(writer, self._delay_s) if self._delay_s else None
        with suppress(OSError):
            while data := await reader.read(65_536):
                if (is_up and self.is_deaf) or number <= self._forgotten:
                    continue
                if late is not None:
                    late.write(data)
                else:
                    writer.write(data)
                    await writer.drain()
        if late is not None:
            await asyncio.sleep(self._delay_s)  # so that the last bytes are written
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class _LateWriter:
    """Writes in order, each piece `delay_s` after it came; any number are under way."""

    def __init__(self, writer: asyncio.StreamWriter, delay_s: float) -> None:
        self._writer = writer
        self._delay_s = delay_s
        self._pieces: deque[bytes] = deque()

    def write(self, data: bytes) -> None:
        self._pieces.append(data)
        asyncio.get_running_loop().call_later(self._delay_s, self._write_oldest)

    def _write_oldest(self) -> None:
        piece = self._pieces.popleft()
        if not self._writer.is_closing():
            self._writer.write(piece)


async def _end_tasks() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    if rest:
        await asyncio.wait(rest, timeout=10)  # their connections are cut


@contextmanager
def slow_line(server_port: int, *, delay_s: float) -> Iterator[Line]:
    """A line in a thread of its own that takes `delay_s` each way."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="slow line")
    thread.start()
    context = open_line(server_port, delay_s=delay_s)
    try:
        entering = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop)
        yield entering.result(20)
        leaving = context.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(leaving, loop).result(20)
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()


@asynccontextmanager
async def open_line(*server_ports: int, delay_s: float = 0.0) -> AsyncIterator[Line]:
    """A line to ports of this machine."""
    line = Line(server_ports, delay_s)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        line.cut()
        await server.wait_closed()


@contextmanager
def line_beside(*server_ports: int) -> Iterator[Line]:
    """As `open_line`, in a thread, for tests without a loop; to be led, not cut."""
    found: list[Line] = []
    is_open = threading.Event()
    loop = asyncio.new_event_loop()
    end = asyncio.Event()

    async def carry() -> None:
        async with open_line(*server_ports) as line:
            found.append(line)
            is_open.set()
            await end.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(carry(),))
    thread.start()
    try:
        assert is_open.wait(10)
        yield found[0]
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
