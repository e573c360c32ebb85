"""End to end: devices on one topic in PostgreSQL, Redis Streams, two workers.

Starts every process itself (PostgreSQL with fsync on, Redis with AOF everysec,
the sink, `tocsin serve`, two `tocsin worker`), sends once over gRPC, and reads
what each process used from /proc. The sink shares the same cores.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tests.support.fill import fill_postgres
from tests.support.ports import free_port
from tests.support.postgres import start_postgres
from tests.support.redis_server import start_redis

from benchmarks.sink import Sink, sink
from tocsin.protocol import api_pb2, api_pb2_grpc

KEY = "bench"
TOPIC = "everyone"
TOCSIN = [sys.executable, "-m", "tocsin.cli.main"]
# A message of the size that the engine's benchmark uses, without its token.
MESSAGE: dict[str, Any] = {
    "notification": {
        "title": "Kick-off in ten minutes",
        "body": "Tap to follow it live.",
    },
    "data": {"match": "7731", "screen": "live"},
    "android": {"collapse_key": "match-7731", "ttl": "600s"},
}


@dataclass
class Usage:
    """What one process used: CPU seconds so far, peak resident bytes."""

    cpu_s: float
    peak_bytes: int


def usage(pid: int) -> Usage:
    """Read it from /proc, children of the process left out."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return Usage((int(stat[11]) + int(stat[12])) / ticks, int(peak.split()[1]) * 1024)


def fill(dsn: str, count: int) -> None:
    """Put `count` FCM devices with tokens of a usual length on one topic."""
    tail = secrets.token_urlsafe(96)[:120]
    fill_postgres(dsn, [f"{n:022d}:APA91b{tail}" for n in range(count)], TOPIC)


@contextmanager
def process(arguments: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run tocsin as a process of its own; it is drained at the end."""
    with log.open("wb") as out:
        child = subprocess.Popen(TOCSIN + arguments, stdout=out, stderr=out)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_ready(port: int, log: Path, deadline_s: float = 30) -> None:
    """Wait until the process answers /ready."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"not ready on port {port}:\n{log.read_text()[-2000:]}")


def sent(port: int) -> dict[str, float]:
    """Results that a worker has counted, by error code (empty: delivered)."""
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/metrics", timeout=5
    ) as answer:
        text = answer.read().decode()
    counts: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("centrifugo_push_notification_count{"):
            labels, _, value = line.rpartition(" ")
            code = labels.partition('err_code="')[2].partition('"')[0]
            counts[code] = counts.get(code, 0) + float(value)
    return counts


def write_service_account(directory: Path, token_uri: str) -> Path:
    """A service account with a fresh key; the sink does not check signatures."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    path = directory / "service-account.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "bench",
                "private_key_id": "1",
                "private_key": pem,
                "client_email": "bench@bench.iam.gserviceaccount.com",
                "client_id": "1",
                "token_uri": token_uri,
            }
        )
    )
    return path


@dataclass
class Deployment:
    """What a measured send runs on: the server's gRPC port, workers' HTTP ports."""

    sink: Sink
    grpc: int
    workers: list[int]
    pids: dict[str, int]


Push = dict[str, Any]
"""`push_notifications` of the configuration, without its queue."""


@contextmanager
def deployed(
    build_push: Callable[[Sink, Path], Push],
    fill: Callable[[str, Sink], None],
    *,
    workers: int = 2,
    sink_kind: str = "auto",
) -> Iterator[Deployment]:
    """Start everything; `fill` gets the dsn once the tables are there."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # PostgreSQL may run as another user and must reach its own folder.
        directory.chmod(0o755)
        postgres = start_postgres(directory / "pg", fsync=True)
        stack.callback(postgres.stop)
        redis = start_redis(directory / "redis", appendonly=True)
        stack.callback(redis.stop)
        target = stack.enter_context(sink(kind=sink_kind))
        dsn = postgres.create_database("tocsin")
        http, grpc_port, *worker_ports = (free_port() for _ in range(2 + workers))
        queue = {"type": "redis", "redis": {"address": redis.address}}
        config = {
            "http_server": {"port": http},
            "grpc_api": {"port": grpc_port, "key": KEY},
            "database": {"postgresql": {"dsn": dsn}},
            "push_notifications": {**build_push(target, directory), "queue": queue},
        }

        def start(verb: str, name: str, port: int) -> int:
            path, log = directory / f"{name}.json", directory / f"{name}.log"
            worker = {"port": port if verb == "worker" else 0}
            path.write_text(json.dumps({**config, "worker": worker}))
            child = process([verb, "--config", str(path)], log)
            pid = stack.enter_context(child).pid
            wait_ready(port, log)
            return pid

        pids = {"server": start("serve", "serve", http)}
        fill(dsn, target)
        for number, port in enumerate(worker_ports, 1):
            pids[f"worker {number}"] = start("worker", f"worker{number}", port)
        yield Deployment(target, grpc_port, worker_ports, pids)


def _only_fcm(target: Sink, directory: Path) -> Push:
    account = write_service_account(directory, f"{target.origin}/token")
    return {
        "enabled_providers": ["fcm"],
        "fcm": {
            "credentials_file": str(account),
            "endpoint": target.origin,
            "ca_file": str(target.ca_file),
        },
    }


def run(
    *,
    devices: int = 200_000,
    workers: int = 2,
    sink_kind: str = "auto",
    templated: bool = False,
) -> dict[str, Any]:
    """One measured send; returns rates per second, microseconds, bytes."""
    with deployed(
        _only_fcm,
        lambda dsn, _sink: fill(dsn, devices),
        workers=workers,
        sink_kind=sink_kind,
    ) as deployment:
        pids = deployment.pids
        before = {name: usage(pid) for name, pid in pids.items()}
        started = time.perf_counter()
        answered_s = send(deployment.grpc, templated=templated)
        finished, counts = wait_sent(deployment.workers, devices)
        after = {name: usage(pid) for name, pid in pids.items()}
        wall_s = finished - started
        cpu_s = sum(after[n].cpu_s - before[n].cpu_s for n in pids)
        return {
            "devices": devices,
            "workers": workers,
            "sink": deployment.sink.name,
            "answered_ms": answered_s * 1000,
            "wall_s": wall_s,
            "pushes_per_s": devices / wall_s,
            "cpu_us_per_push": cpu_s / devices * 1e6,
            "counts": counts,
            "peak_mb": {n: after[n].peak_bytes / 1e6 for n in pids},
        }


def send(port: int, *, templated: bool = False) -> float:
    """Send to the topic over gRPC; returns the seconds until the uid came."""
    message: dict[str, Any] = MESSAGE
    if templated:
        notification = {**MESSAGE["notification"], "body": "For {{.device.user}}"}
        message = {**MESSAGE, "notification": notification}
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = api_pb2_grpc.CentrifugoApiStub(channel)
        metadata = (("authorization", f"apikey {KEY}"),)
        stub.DeviceList(api_pb2.DeviceListRequest(limit=1), metadata=metadata)
        request = api_pb2.SendPushNotificationRequest(
            recipient=api_pb2.PushRecipient(
                filter=api_pb2.DeviceFilter(topics=[TOPIC])
            ),
            notification=api_pb2.PushNotification(
                fcm=api_pb2.FcmPushNotification(message=json.dumps(message).encode())
            ),
            use_templating=templated,
        )
        started = time.perf_counter()
        response = stub.SendPushNotification(request, metadata=metadata)
        elapsed = time.perf_counter() - started
    if response.error.code:
        raise SystemExit(f"send was refused: {response.error}")
    return elapsed


def wait_sent(ports: list[int], devices: int) -> tuple[float, dict[str, float]]:
    """Wait until every device has a result; returns when, and the counts."""
    deadline = time.monotonic() + 120 + devices / 500
    counts: dict[str, float] = {}
    while time.monotonic() < deadline:
        counts = {}
        for port in ports:
            for code, value in sent(port).items():
                counts[code] = counts.get(code, 0) + value
        if counts.get("", 0) >= devices:
            return time.perf_counter(), counts
        time.sleep(0.2)
    raise SystemExit(f"not every push was sent in time: {counts}")


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=200_000)
    parser.add_argument("--sink", default="auto")
    parser.add_argument("--templated", action="store_true")
    arguments = parser.parse_args()
    result = run(
        devices=arguments.devices,
        sink_kind=arguments.sink,
        templated=arguments.templated,
    )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
