"""The whole service in one process, shown at work against a local provider.

Composition only: server, worker, queue and registry are the ones of `serve`; the
simulator stands where Google stands. It tells `Show` what happens and prints
nothing itself.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import grpc.aio

from tocsin.app.demo_online import (
    NAMESPACE_OPTIONS,
    Online,
    OnlineError,
    connect_and_tell,
    users_of,
)
from tocsin.app.lifecycle import Stopper
from tocsin.app.server import Listening, start_server
from tocsin.config import load_config
from tocsin.config.showing import show_path
from tocsin.core.lanes import queue_names
from tocsin.core.outcome import Result, Verdict
from tocsin.core.ports.queue import JobQueue
from tocsin.core.push import Payload, SendJob
from tocsin.core.push_services import SERVICES
from tocsin.delivery.reports import ONLINE
from tocsin.protocol import api_pb2, api_pb2_grpc
from tocsin.protocol.json_codec import FILES
from tocsin.simulator.configuration import push_notifications
from tocsin.simulator.server import Simulator

SIMULATED = "simulator:"
"""Before a token: the simulator makes what a device of that name would have."""
CONCURRENCY = 64
STEP_S = 0.1
FIRST_RETRY = "1s"
"""A retry within the demo's patience; the default for FCM is ten seconds."""


class DemoError(Exception):
    """The demo cannot go on; its text says what to change."""


class DemoInputError(DemoError):
    """A file that the demo was to read is missing or wrong."""


class Show(Protocol):
    """Where progress goes."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`total` is 0 where it is not known."""
        ...


@dataclass
class SendSummary:
    """Every result of one of the demo's sends."""

    recipients: int = 0
    delivered: int = 0
    by_provider: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[int] = field(default_factory=list)
    registered: int = 0
    register_s: float = 0.0
    send_s: float = 0.0
    removed: int = 0
    dead_letters: int = 0
    online: Online | None = None
    """Of the second send, which goes to who is online; `None` without users."""
    spared: int = 0
    """Devices that the second send left alone, since their user was reached."""

    def add(self, job: SendJob, results: Sequence[Result]) -> None:
        """Count results of a batch."""
        for _, outcome, at_ms in results:
            if outcome.verdict is Verdict.DELIVERED:
                self.delivered += 1
                self.by_provider[job.provider] += 1
                self.latencies_ms.append(at_ms - job.accepted_at_ms)
            elif outcome.verdict in {Verdict.RETRY, Verdict.MISCONFIGURED}:
                self.retried += 1
            else:
                self.failed[outcome.code] += 1

    @property
    def answered(self) -> int:
        """Recipients that reached an end."""
        return self.delivered + sum(self.failed.values())

    def latency_ms(self, share: float) -> int:
        """The latency below which this share of the delivered stayed."""
        ordered = sorted(self.latencies_ms)
        if not ordered:
            return 0
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class SendLedger:
    """The worker's `ResultSink`: a summary for each send, in their order."""

    def __init__(self) -> None:
        self._summaries: dict[str, SendSummary] = {}
        self.first = SendSummary()

    def record(self, job: SendJob, payload: Payload, results: Sequence[Result]) -> None:
        """See `ResultSink.record`."""
        if not self._summaries:
            self._summaries[payload.push_id] = self.first
        self._summaries.setdefault(payload.push_id, SendSummary()).add(job, results)

    def later(self) -> list[SendSummary]:
        """Those of all sends after the first."""
        return [each for each in self._summaries.values() if each is not self.first]


@dataclass(frozen=True, slots=True)
class DemoStage:
    """The running demo: how to reach it."""

    listening: Listening
    queue: JobQueue
    simulator: Simulator
    key: str
    token_secret: str
    stopper: Stopper
    ledger: SendLedger

    @property
    def summary(self) -> SendSummary:
        """What is shown at the end."""
        return self.ledger.first


@asynccontextmanager
async def stage(directory: Path, stopper: Stopper) -> AsyncIterator[DemoStage]:
    """Start simulator and server on free ports, everything inside `directory`."""
    async with AsyncExitStack() as stack:
        simulator = Simulator(directory / "provider")
        await simulator.start()
        stack.push_async_callback(simulator.stop)
        key, token_secret = secrets.token_urlsafe(12), secrets.token_urlsafe(32)
        settings = {
            **_settings(directory, simulator, key),
            "client": {"token": {"hmac_secret_key": token_secret}},
            "channel": {"namespaces": [NAMESPACE_OPTIONS]},
        }
        path = directory / "tocsin.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(settings, indent=2))
        config = load_config(str(path), environ={}).config
        ledger = SendLedger()
        listening = await start_server(config, stack, stopper, sinks=[ledger])
        queue = listening.resources.queue
        if queue is None:
            raise DemoError("no provider is enabled")
        yield DemoStage(listening, queue, simulator, key, token_secret, stopper, ledger)


def _settings(directory: Path, simulator: Simulator, key: str) -> dict[str, object]:
    return {
        "http_server": {"address": "127.0.0.1", "port": 0},
        "http_api": {"key": key},
        "grpc_api": {"address": "127.0.0.1", "port": 0, "key": key},
        "database": {"sqlite": {"path": str(directory / "tocsin.db")}},
        "shutdown": {"timeout": "5s"},
        "log": {"level": "error"},
        "push_notifications": {
            **push_notifications(simulator),
            "retry": {"first_delay": FIRST_RETRY},
        },
    }


def read_devices(path: Path) -> list[api_pb2.DeviceRegisterRequest]:
    """One DeviceRegister request as JSON a line; raises `DemoInputError` by line."""
    requests = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            requests.append(FILES.read(api_pb2.DeviceRegisterRequest, line.encode()))
        except ValueError as error:
            raise DemoInputError(f"{show_path(path)}:{number}: {error}") from None
    if not requests:
        raise DemoInputError(f"{show_path(path)}: holds no device")
    return requests


def read_message(path: Path) -> api_pb2.SendPushNotificationRequest:
    """One SendPushNotification request as JSON; raises `DemoInputError`."""
    try:
        return FILES.read(
            api_pb2.SendPushNotificationRequest,
            "\n".join(_lines(path)).encode(),
        )
    except ValueError as error:
        raise DemoInputError(f"{show_path(path)}: {error}") from None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DemoInputError(f"{show_path(path)}: cannot be read: {reason}") from None


async def play(
    on: DemoStage,
    devices: list[api_pb2.DeviceRegisterRequest],
    message: api_pb2.SendPushNotificationRequest,
    show: Show,
) -> SendSummary:
    """Register all devices over gRPC, send to them, and wait for every result.

    Then some users come online, and a second send goes to them.
    """
    _make_tokens(on.simulator, devices)
    loop = asyncio.get_running_loop()
    metadata = (("authorization", f"apikey {on.key}"),)
    address = f"127.0.0.1:{on.listening.grpc_port}"
    async with grpc.aio.insecure_channel(address) as channel:
        api = api_pb2_grpc.CentrifugoApiStub(channel)
        started = loop.time()
        await _register(api, metadata, devices, on.summary, show)
        on.summary.register_s = loop.time() - started
        started = loop.time()
        answer = await api.SendPushNotification(message, metadata=metadata)
        if answer.error.code:
            raise DemoError(f"the send was refused: {answer.error.message}")
        await _wait_settled(on, show)
        on.summary.send_s = loop.time() - started
        await _count_ends(on)
        if users := users_of(devices):
            await _tell_online(on, api, metadata, users, message, show)
    return on.summary


async def _tell_online(
    on: DemoStage,
    api: api_pb2_grpc.CentrifugoApiStub,
    metadata: tuple[tuple[str, str], ...],
    users: Sequence[str],
    message: api_pb2.SendPushNotificationRequest,
    show: Show,
) -> None:
    try:
        on.summary.online = await connect_and_tell(
            f"http://127.0.0.1:{on.listening.http_port}",
            api,
            metadata=metadata,
            token_secret=on.token_secret,
            users=users,
            notification=message.notification,
        )
    except OnlineError as error:
        raise DemoError(f"online: {error}") from None
    await _wait_settled(on, show)
    on.summary.spared = sum(each.failed[ONLINE] for each in on.ledger.later())


def _make_tokens(
    simulator: Simulator, devices: list[api_pb2.DeviceRegisterRequest]
) -> None:
    """Give simulated devices the token that a real one would bring."""
    for device in devices:
        if device.token.startswith(SIMULATED) and device.provider in SERVICES:
            name = device.token.removeprefix(SIMULATED)
            device.token = simulator.new_token(device.provider, name)


async def _register(
    api: api_pb2_grpc.CentrifugoApiStub,
    metadata: tuple[tuple[str, str], ...],
    devices: list[api_pb2.DeviceRegisterRequest],
    summary: SendSummary,
    show: Show,
) -> None:
    rest = iter(enumerate(devices, 1))

    async def register_some(
        requests: Iterable[tuple[int, api_pb2.DeviceRegisterRequest]],
    ) -> None:
        for number, request in requests:
            answer = await api.DeviceRegister(request, metadata=metadata)
            if answer.error.code:
                raise DemoError(f"device {number}: {answer.error.message}")
            summary.registered += 1

    tasks = [asyncio.create_task(register_some(rest)) for _ in range(CONCURRENCY)]
    all_done = asyncio.gather(*tasks)
    try:
        while not all_done.done():
            await asyncio.wait([all_done], timeout=STEP_S)
            show.progress("registered", summary.registered, len(devices))
        await all_done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_settled(on: DemoStage, show: Show) -> None:
    """Until nothing waits and nothing is under way, seen twice in a row."""
    queue, metrics = on.queue, on.listening.resources.metrics
    lanes = [
        (provider, name) for provider in SERVICES for name in queue_names(provider)
    ]
    names = [name for _, name in lanes]
    quiet = 0
    while quiet < 2 and not on.stopper.failed:
        await asyncio.sleep(STEP_S)
        waiting = sum((await queue.waiting(names)).values())
        working = sum(metrics.push_consuming_inflight_jobs.get(*lane) for lane in lanes)
        # Twice: a job may be between the queue and the worker when both are
        # looked at.
        quiet = 0 if waiting or working else quiet + 1
        if on.summary.online is None:
            show.progress("answered", on.summary.answered, 0)
    if on.stopper.failed:
        raise DemoError("the worker died; its log line says why")


async def _count_ends(on: DemoStage) -> None:
    metrics, summary = on.listening.resources.metrics, on.summary
    summary.recipients = summary.answered
    summary.dead_letters = len(await on.queue.list_dead(limit=1000))
    summary.removed = int(
        sum(
            metrics.push_devices_removed.get(provider, code)
            for provider in SERVICES
            for code in summary.failed
        )
    )
