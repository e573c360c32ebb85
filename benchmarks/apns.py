"""APNs beside an aioapns loop, into one local sink over TLS.

Each client runs in a process of its own, in rounds that alternate, and the median
counts: one connection, 100 in flight, 1,000 device tokens in turn, a token signed by
a key. `python -m benchmarks.apns`; with NAME ORIGIN CA_FILE SECONDS it is one client.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from benchmarks.sink import Sink, sink, trusting_context

ROOT = Path(__file__).resolve().parent.parent
DEVICES = 1000
IN_FLIGHT = 100
BATCH = 100
BATCHES_AT_ONCE = 4
WARM_UP_S = 0.7
WANTED = ("aioapns", 8.0)
TOPIC = "com.example.shop"
KEY_ID, TEAM_ID = "BENCHKEY01", "BENCHTEAM1"


def payload() -> dict[str, Any]:
    """A notification of 420 bytes as JSON."""
    alert = {"title": "Order 10492 is on its way", "body": ""}
    found: dict[str, Any] = {
        "aps": {"alert": alert, "sound": "default", "thread-id": "orders"},
        "order": "10492",
        "kind": "shipment",
    }
    alert["body"] = "x" * (420 - len(json.dumps(found)))
    return found


@dataclass(frozen=True)
class Figures:
    """What one client reached; the CPU time is that of its process."""

    per_second: float
    cpu_us: float
    messages: int


class Meter:
    """Counts answers from the end of the warm-up for so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.done = 0
        self._starts = time.perf_counter() + WARM_UP_S
        self._ends = self._starts + seconds
        self._marks: list[tuple[float, float, int]] = []

    def running(self) -> bool:
        """Whether one more may start; takes the marks on the way."""
        now = time.perf_counter()
        if now >= self._starts and not self._marks:
            self._mark(now)
        if now >= self._ends and len(self._marks) == 1:
            self._mark(now)
        return len(self._marks) < 2

    def figures(self) -> Figures:
        """Between the marks."""
        (wall, cpu, done), (wall_end, cpu_end, done_end) = self._marks
        messages = done_end - done
        return Figures(
            messages / (wall_end - wall),
            (cpu_end - cpu) / max(1, messages) * 1e6,
            messages,
        )

    def _mark(self, now: float) -> None:
        self._marks.append((now, time.process_time(), self.done))


def _key_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _tokens() -> list[str]:
    return [os.urandom(32).hex() for _ in range(DEVICES)]


class _NoPace:
    def ready(self) -> bool:
        return True

    async def wait(self) -> bool:
        return True


async def native(origin: str, ca_file: str, meter: Meter) -> None:
    """Tocsin's provider, as a worker drives it: batches of 100."""
    from tocsin.core.outcome import Outcome, Verdict
    from tocsin.core.ports.providers import Batch
    from tocsin.core.push import Body, TargetKind
    from tocsin.providers import apns
    from tocsin.providers.apns_setup import TokenAuth
    from tocsin.providers.process_tokens import ProcessTokenStore

    apns.MAX_STREAMS = IN_FLIGHT
    provider = apns.ApnsProvider(
        auth=TokenAuth(KEY_ID, TEAM_ID, key_pem=_key_pem()),
        tokens=ProcessTokenStore(),
        bundle_id=TOPIC,
        endpoint=origin,
        ca_file=ca_file,
        max_connections=1,
    )
    body, tokens = Body(json.dumps(payload()).encode()), _tokens()
    chunks = [tokens[at : at + BATCH] for at in range(0, DEVICES, BATCH)]
    turn = itertools.cycle(
        [Batch(body, TargetKind.TOKEN, chunk, range(len(chunk))) for chunk in chunks]
    )

    def report(_index: int, outcome: Outcome) -> None:
        if outcome.verdict is not Verdict.DELIVERED:
            raise RuntimeError(f"{outcome.code}: {outcome.detail}")
        meter.done += 1

    async def lane() -> None:
        while meter.running():
            await provider.send(next(turn), report, _NoPace())

    await asyncio.gather(*(lane() for _ in range(BATCHES_AT_ONCE)))
    await provider.close()


async def aioapns(origin: str, ca_file: str, meter: Meter) -> None:
    """The library as it is, 100 tasks over its one connection."""
    from aioapns import APNs, NotificationRequest
    from aioapns.connection import APNsProductionClientProtocol

    where = urlsplit(origin)
    APNsProductionClientProtocol.APNS_SERVER = where.hostname or ""
    APNsProductionClientProtocol.APNS_PORT = where.port or 443
    client = APNs(
        key=_key_pem().decode(),
        key_id=KEY_ID,
        team_id=TEAM_ID,
        topic=TOPIC,
        max_connections=1,
        ssl_context=trusting_context(ca_file, "h2"),
    )
    message, turn = payload(), itertools.cycle(_tokens())

    async def lane() -> None:
        while meter.running():
            request = NotificationRequest(device_token=next(turn), message=message)
            result = await client.send_notification(request)
            if not result.is_successful:
                raise RuntimeError(f"{result.status} {result.description}")
            meter.done += 1

    await lane_once(client, message)
    await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))
    client.pool.close()


async def lane_once(client: Any, message: dict[str, Any]) -> None:
    """One push before the load, so that all of it meets one open connection."""
    from aioapns import NotificationRequest

    await client.send_notification(NotificationRequest("00", message))


CLIENTS: dict[str, Callable[[str, str, Meter], Coroutine[Any, Any, None]]] = {
    "tocsin": native,
    "aioapns": aioapns,
}


def _run_client(name: str, where: Sink, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.apns", name]
    command += [where.origin, where.ca_file, str(seconds)]
    finished = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 90
    )
    if finished.returncode:
        raise RuntimeError(f"{name} failed: {finished.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def _medians(results: list[dict[str, Any]]) -> dict[str, float]:
    return {
        key: statistics.median([one[key] for one in results])
        for key in ("per_second", "cpu_us", "messages")
    }


def _show(result: dict[str, Any]) -> None:
    print(
        f"\nAPNs bench: {result['sink']}; {result['payload_bytes']}-byte payload, TLS, "
        f"{IN_FLIGHT} in flight, {result['rounds']} rounds of {result['seconds']:g} s"
    )
    for name, figure in result["figures"].items():
        print(
            f"{name:<12}{figure['per_second']:>10,.0f} pushes/s"
            f"{figure['cpu_us']:>10.1f} CPU µs"
        )
    for verdict in result["verdicts"]:
        mark = "reached" if verdict["reached"] else "MISSED"
        print(f"{verdict['what']}: {verdict['is']:.2f}, {verdict['wanted']}: {mark}")


def run(*, seconds: float = 3, rounds: int = 3) -> dict[str, Any]:
    """Measure both; returns and prints sink, figures (medians) and verdicts.

    `figures` maps a client to `per_second`, `cpu_us` (client process, per push) and
    `messages`. RuntimeError when any client got an answer that was not expected.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in CLIENTS}
    with sink() as where:
        for number in range(rounds):
            for name in CLIENTS:
                one = _run_client(name, where, seconds)
                results[name].append(one)
                rate = f"{one['per_second']:,.0f}"
                print(f"round {number + 1}: {name:<12}{rate:>10} pushes/s", flush=True)
        sink_name = where.name
    figures = {name: _medians(found) for name, found in results.items()}
    peer, least = WANTED
    ratio = figures["tocsin"]["per_second"] / figures[peer]["per_second"]
    result = {
        "sink": sink_name,
        "seconds": seconds,
        "rounds": rounds,
        "payload_bytes": len(json.dumps(payload())),
        "in_flight": IN_FLIGHT,
        "figures": figures,
        "verdicts": [
            {
                "what": f"tocsin / {peer}",
                "is": ratio,
                "wanted": f">= {least:g}",
                "reached": ratio >= least,
            }
        ],
    }
    _show(result)
    return result


def main() -> None:
    """One client, as JSON on the standard output, or all of them."""
    if len(sys.argv) == 1:
        run()
        return
    import uvloop

    name, origin, ca_file, seconds = sys.argv[1:]
    meter = Meter(float(seconds))
    uvloop.run(CLIENTS[name](origin, ca_file, meter))
    print(json.dumps(asdict(meter.figures())))


if __name__ == "__main__":
    main()
