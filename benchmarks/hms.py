"""HMS natively, a thousand tokens a request, beside one-token requests with aiohttp.

Each client runs in a process of its own, in rounds that alternate, and the median
counts. `python -m benchmarks.hms`; with NAME ORIGIN CA_FILE SECONDS it is one client.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import statistics
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.apns import Meter
from benchmarks.sink import Sink, sink, trusting_context

ROOT = Path(__file__).resolve().parent.parent
APP_ID = "bench"
BATCH = 1000
BATCHES_AT_ONCE = 2
"""As many as a worker takes into its hands at this size."""
IN_FLIGHT = 100
TOKENS = 4000
MESSAGE = json.dumps(
    {
        "notification": {
            "title": "Kick-off in ten minutes",
            "body": "Tap to follow it.",
        },
        "data": json.dumps({"match": "7731", "screen": "live"}),
        "android": {"collapse_key": -1, "ttl": "600s", "urgency": "HIGH"},
    }
)


def _tokens() -> list[str]:
    return [secrets.token_urlsafe(97)[:130] for _ in range(TOKENS)]


class _NoPace:
    def ready(self) -> bool:
        return True

    async def wait(self) -> bool:
        return True


async def native(origin: str, ca_file: str, meter: Meter) -> None:
    """Tocsin's provider, as a worker drives it."""
    from tocsin.core.outcome import Outcome, Verdict
    from tocsin.core.ports.providers import Batch
    from tocsin.core.push import Body, TargetKind
    from tocsin.providers.hms import HmsProvider

    provider = HmsProvider(
        app_id=APP_ID,
        app_secret="bench",
        auth_endpoint=origin,
        push_endpoint=origin,
        ca_file=ca_file,
    )
    body, tokens = Body(MESSAGE.encode()), _tokens()
    chunks = [tokens[at : at + BATCH] for at in range(0, TOKENS, BATCH)]
    turn = itertools.cycle(
        [Batch(body, TargetKind.TOKEN, chunk, range(BATCH)) for chunk in chunks]
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


async def one_by_one(origin: str, ca_file: str, meter: Meter) -> None:
    """One token a request, 100 of them in flight, the token of access fetched once."""
    import aiohttp

    connector = aiohttp.TCPConnector(
        limit=IN_FLIGHT, ssl=trusting_context(ca_file, "http/1.1")
    )
    url, message, turn = (
        f"{origin}/v1/{APP_ID}/messages:send",
        json.loads(MESSAGE),
        itertools.cycle(_tokens()),
    )
    form = {
        "grant_type": "client_credentials",
        "client_id": APP_ID,
        "client_secret": "bench",
    }
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.post(f"{origin}/oauth2/v3/token", data=form) as answer:
            token = (await answer.json())["access_token"]
        headers = {"authorization": f"Bearer {token}"}

        async def lane() -> None:
            while meter.running():
                body = {"message": {**message, "token": [next(turn)]}}
                async with session.post(url, json=body, headers=headers) as answer:
                    said = await answer.json()
                if said["code"] != "80000000":
                    raise RuntimeError(f"{answer.status} {said}")
                meter.done += 1

        await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))


CLIENTS: dict[str, Callable[[str, str, Meter], Coroutine[Any, Any, None]]] = {
    "tocsin": native,
    "aiohttp, one token": one_by_one,
}


def _run_client(name: str, where: Sink, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.hms", name]
    command += [where.origin, where.ca_file, str(seconds)]
    finished = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 90
    )
    if finished.returncode:
        raise RuntimeError(f"{name} failed: {finished.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def run(*, seconds: float = 3, rounds: int = 3) -> dict[str, Any]:
    """Measure both; returns and prints sink, figures (medians) and their ratio.

    `figures` maps a client to `per_second` (tokens), `requests_per_second`, `cpu_us`
    (client process, per token) and `messages`. RuntimeError when any client got an
    answer that was not expected.
    """
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in CLIENTS}
    # nginx would answer before it has read the 130 kB of such a request.
    with sink("granian") as where:
        for _ in range(rounds):
            for name in CLIENTS:
                results[name].append(_run_client(name, where, seconds))
        sink_name = where.name
    figures = {}
    for name, found in results.items():
        figure = {
            key: statistics.median([one[key] for one in found])
            for key in ("per_second", "cpu_us", "messages")
        }
        per_request = BATCH if name == "tocsin" else 1
        figure["requests_per_second"] = figure["per_second"] / per_request
        figures[name] = figure
        print(
            f"{name:<20}{figure['per_second']:>12,.0f} tokens/s"
            f"{figure['requests_per_second']:>10,.0f} requests/s"
            f"{figure['cpu_us']:>10.1f} CPU µs per token",
            flush=True,
        )
    ours, peer = (figures[name]["per_second"] for name in CLIENTS)
    return {
        "sink": sink_name,
        "seconds": seconds,
        "rounds": rounds,
        "message_bytes": len(MESSAGE),
        "batch": BATCH,
        "figures": figures,
        "ratio": ours / peer,
    }


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
