"""Web Push beside a pywebpush loop, into one local sink over TLS; and encryption bare.

Each client runs in a process of its own, in rounds that alternate, and the median
counts. Every message is encrypted for one of 1,000 browsers with keys of their own.
`python -m benchmarks.webpush`; with NAME ORIGIN CA_FILE SECONDS it is one client.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.sink import WPUSH_PATH, Sink, sink

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = 1000
PAYLOAD = json.dumps({"title": "Order 10492 is on its way", "body": "x" * 240}).encode()
SUBJECT = "mailto:ops@example.com"
BATCH = 100
BATCHES_AT_ONCE = 10
WARM_UP_S = 0.7
WANTED = ("pywebpush", 4.0)


@dataclass(frozen=True)
class Figures:
    """What one client reached; the CPU time is that of its process."""

    per_second: float
    cpu_us: float
    messages: int


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def make_pair() -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    number = key.private_numbers().private_value.to_bytes(32, "big")
    return _base64url(point), _base64url(number)


def subscriptions(origin: str) -> list[dict[str, Any]]:
    """Browsers as they register: endpoints with the length of real ones."""
    return [
        {
            "endpoint": f"{origin}{WPUSH_PATH}v2/{_base64url(os.urandom(120))}",
            "keys": {"p256dh": make_pair()[0], "auth": _base64url(os.urandom(16))},
        }
        for _ in range(BROWSERS)
    ]


class Meter:
    """Counts messages from the end of the warm-up for so many seconds."""

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


class _NoPace:
    def ready(self) -> bool:
        return True

    async def wait(self) -> bool:
        return True


async def _native(origin: str, ca_file: str, meter: Meter) -> None:
    from tocsin.core.endpoints import EndpointRules
    from tocsin.core.outcome import Outcome, Verdict
    from tocsin.core.ports.providers import Batch
    from tocsin.core.push import Body, TargetKind
    from tocsin.core.webpush import make_target
    from tocsin.providers.webpush import WebPushProvider

    public, private = make_pair()
    provider = WebPushProvider(
        vapid_public_key=public,
        vapid_private_key=private,
        subject=SUBJECT,
        rules=EndpointRules.of([origin], allow_private=True),
        ca_file=ca_file,
    )
    targets = [
        make_target(one["endpoint"], json.dumps(one["keys"]))
        for one in subscriptions(origin)
    ]
    body = Body(PAYLOAD)
    chunks = [targets[at : at + BATCH] for at in range(0, BROWSERS, BATCH)]
    batches = [
        Batch(body, TargetKind.TOKEN, chunk, range(len(chunk))) for chunk in chunks
    ]
    turn = itertools.cycle(batches)

    def report(_index: int, outcome: Outcome) -> None:
        if outcome.verdict is not Verdict.DELIVERED:
            raise RuntimeError(f"{outcome.code}: {outcome.detail}")
        meter.done += 1

    async def lane() -> None:
        while meter.running():
            await provider.send(next(turn), report, _NoPace())

    await asyncio.gather(*(lane() for _ in range(BATCHES_AT_ONCE)))
    await provider.close()


def native(origin: str, ca_file: str, meter: Meter) -> None:
    """The provider as a worker drives it: ten batches of 100 under way."""
    import uvloop

    uvloop.run(_native(origin, ca_file, meter))


def pywebpush_loop(origin: str, ca_file: str, meter: Meter) -> None:
    """As its users write it, at its best: one session, one parsed key."""
    import requests
    from py_vapid import Vapid02
    from pywebpush import webpush

    key = Vapid02.from_string(make_pair()[1])
    with requests.Session() as session:
        session.trust_env = False
        session.verify = ca_file
        for one in itertools.cycle(subscriptions(origin)):
            if not meter.running():
                return
            webpush(
                one,
                data=PAYLOAD,
                vapid_private_key=key,
                vapid_claims={"sub": SUBJECT},
                ttl=60,
                requests_session=session,
            )
            meter.done += 1


def pywebpush_signed_once(origin: str, ca_file: str, meter: Meter) -> None:
    """The same with a VAPID header made by hand and kept, as its maintainer advises."""
    import requests
    from py_vapid import Vapid02
    from pywebpush import webpush

    claims = {"aud": origin, "exp": int(time.time()) + 43_200, "sub": SUBJECT}
    headers = Vapid02.from_string(make_pair()[1]).sign(claims)
    with requests.Session() as session:
        session.trust_env = False
        session.verify = ca_file
        for one in itertools.cycle(subscriptions(origin)):
            if not meter.running():
                return
            webpush(
                one, data=PAYLOAD, headers=headers, ttl=60, requests_session=session
            )
            meter.done += 1


def encryption(origin: str, _ca_file: str, meter: Meter) -> None:
    """No network: what the encryption of one process reaches."""
    from tocsin.core.webpush import make_target, parse_target
    from tocsin.providers.webpush_crypto import encrypt

    targets = [
        parse_target(make_target(one["endpoint"], json.dumps(one["keys"])))
        for one in subscriptions(origin)
    ]
    for target in itertools.cycle(targets):
        if not meter.running():
            return
        encrypt(PAYLOAD, target)
        meter.done += 1


CLIENTS: dict[str, Callable[[str, str, Meter], None]] = {
    "tocsin": native,
    "pywebpush": pywebpush_loop,
    "pywebpush, signed once": pywebpush_signed_once,
    "encryption alone": encryption,
}


def _run_client(name: str, where: Sink, seconds: float) -> Figures:
    command = [sys.executable, "-m", "benchmarks.webpush", name]
    command += [where.origin, where.ca_file, str(seconds)]
    finished = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 90
    )
    if finished.returncode:
        raise RuntimeError(f"{name} failed: {finished.stderr[-2000:]}")
    return Figures(**json.loads(finished.stdout.splitlines()[-1]))


def _median(rounds: list[Figures]) -> Figures:
    return Figures(
        statistics.median(one.per_second for one in rounds),
        statistics.median(one.cpu_us for one in rounds),
        round(statistics.median(one.messages for one in rounds)),
    )


def _show(result: dict[str, Any]) -> None:
    print(
        f"\nWeb Push bench: {result['sink']}; {result['payload_bytes']}-byte payload, "
        f"TLS, {result['rounds']} rounds of {result['seconds']:g} s"
    )
    print(f"{'client':<24}{'messages/s':>12}{'CPU µs':>10}{'tocsin is':>12}")
    ours = result["figures"]["tocsin"]["per_second"]
    for name, figure in result["figures"].items():
        ratio = f"{ours / figure['per_second']:.2f} x"
        rate = f"{figure['per_second']:,.0f}"
        print(f"{name:<24}{rate:>12}{figure['cpu_us']:>10.1f}{ratio:>12}")
    for verdict in result["verdicts"]:
        mark = "reached" if verdict["reached"] else "MISSED"
        print(f"{verdict['what']}: {verdict['is']:.2f}, {verdict['wanted']}: {mark}")


def run(*, seconds: float = 3, rounds: int = 3) -> dict[str, Any]:
    """Measure everybody; returns and prints sink, figures (medians) and verdicts.

    `figures` maps a client to `per_second`, `cpu_us` and `messages`. RuntimeError when
    a client failed or a message was not accepted.
    """
    results: dict[str, list[Figures]] = {name: [] for name in CLIENTS}
    with sink() as where:
        for number in range(rounds):
            for name in CLIENTS:
                one = _run_client(name, where, seconds)
                results[name].append(one)
                rate = f"{one.per_second:,.0f}"
                print(
                    f"round {number + 1}: {name:<24}{rate:>10} messages/s", flush=True
                )
        sink_name = where.name
    figures = {name: vars(_median(found)) for name, found in results.items()}
    other, least = WANTED
    ratio = figures["tocsin"]["per_second"] / figures[other]["per_second"]
    result = {
        "sink": sink_name,
        "seconds": seconds,
        "rounds": rounds,
        "payload_bytes": len(PAYLOAD),
        "figures": figures,
        "verdicts": [
            {
                "what": f"tocsin / {other}",
                "is": ratio,
                "wanted": f">= {least:g}",
                "reached": ratio >= least,
            }
        ],
    }
    _show(result)
    return result


def main() -> None:
    """One client when it is named, else everybody."""
    if len(sys.argv) == 1:
        run()
        return
    name, origin, ca_file, seconds = sys.argv[1:]
    meter = Meter(float(seconds))
    CLIENTS[name](origin, ca_file, meter)
    print(json.dumps(vars(meter.figures())))


if __name__ == "__main__":
    main()
