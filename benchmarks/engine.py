"""The fan-out engine beside other clients, into one local sink over TLS.

Each client runs in a process of its own, in rounds that alternate, and the median
counts. The ratios within one run are the result; absolute figures are of the machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.clients import BODY, CLIENTS, HEADERS, IN_FLIGHT
from benchmarks.sink import SEND_PATH, Sink, sink

ROOT = Path(__file__).resolve().parent.parent
LIMIT = "h2load"

# What issue 3 asks for: (engine's figure, compared with, at least).
WANTED = (("h2 loop", 8.0), ("pyreqwest", 2.0), (LIMIT, 0.6))
WANTED_CPU_US = 30.0


def _run_client(name: str, where: Sink, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.clients", name]
    command += [where.origin, where.ca_file, str(seconds)]
    finished = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 90
    )
    if finished.returncode:
        raise RuntimeError(f"{name} failed: {finished.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    if result["wrong"]:
        raise RuntimeError(f"{name} got wrong answers: {result['wrong']}")
    return result


def _run_h2load(where: Sink, seconds: float) -> dict[str, Any]:
    """h2load in its timed mode, with one connection, one thread and 100 streams."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(BODY)
        body.flush()
        command = ["h2load", "-c1", "-t1", f"-m{IN_FLIGHT}", f"-d{body.name}"]
        command += [f"-D{max(1, round(seconds))}", "--warm-up-time=1"]
        for name, value in HEADERS.items():
            command += ["-H", f"{name}: {value}"]
        before = os.times()
        finished = subprocess.run(
            [*command, where.origin + SEND_PATH],
            capture_output=True,
            text=True,
            timeout=seconds + 60,
        )
        after = os.times()
    text = finished.stdout
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", text)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    if not rate or not codes:
        raise RuntimeError(f"h2load said: {text[-1000:]}{finished.stderr[-1000:]}")
    good, *bad = (int(number) for number in codes.groups())
    if any(bad) or not good:
        raise RuntimeError(f"h2load got wrong answers: {codes.group()}")
    # Its counts leave the warm-up out, its CPU time does not: take that by rate.
    cpu_s = after.children_user + after.children_system
    cpu_s -= before.children_user + before.children_system
    ran = float(rate.group(1)) * (max(1, round(seconds)) + 1)
    return {
        "requests": good,
        "per_second": float(rate.group(1)),
        "cpu_us": cpu_s / ran * 1e6,
    }


def _names() -> list[str]:
    """Who takes part on this machine; optional ones are left out with a word."""
    names = []
    if shutil.which("h2load"):
        names.append(LIMIT)
    else:
        print("h2load is not on PATH: no limit to compare with")
    for name in CLIENTS:
        if name == "pyreqwest" and importlib.util.find_spec("pyreqwest") is None:
            print("pyreqwest is not installed: left out (pip install 'tocsin[bench]')")
            continue
        names.append(name)
    return names


def _medians(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            key: statistics.median([one[key] for one in results])
            for key in ("per_second", "cpu_us", "requests")
        }
        for name, results in rounds.items()
    }


def _verdicts(figures: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    engine = figures["engine"]
    verdicts: list[dict[str, Any]] = [
        {
            "what": f"engine / {name}",
            "is": engine["per_second"] / figures[name]["per_second"],
            "wanted": f">= {least:g}",
            "reached": engine["per_second"] >= least * figures[name]["per_second"],
        }
        for name, least in WANTED
        if name in figures
    ]
    verdicts.append(
        {
            "what": "engine, CPU µs per request",
            "is": engine["cpu_us"],
            "wanted": f"<= {WANTED_CPU_US:g}",
            "reached": engine["cpu_us"] <= WANTED_CPU_US,
        }
    )
    return verdicts


def _show(result: dict[str, Any]) -> None:
    print(
        f"\nengine bench: {result['sink']}; {result['body_bytes']}-byte FCM body, TLS, "
        f"{IN_FLIGHT} in flight, {result['rounds']} rounds of {result['seconds']:g} s"
    )
    print(f"{'client':<12}{'requests/s':>12}{'CPU µs':>10}{'engine is':>14}")
    ours = result["figures"]["engine"]["per_second"]
    for name, figure in result["figures"].items():
        ratio = f"{ours / figure['per_second']:.2f} x"
        rate = f"{figure['per_second']:,.0f}"
        print(f"{name:<12}{rate:>12}{figure['cpu_us']:>10.1f}{ratio:>14}")
    for verdict in result["verdicts"]:
        mark = "reached" if verdict["reached"] else "MISSED"
        print(f"{verdict['what']}: {verdict['is']:.2f}, {verdict['wanted']}: {mark}")


def run(*, seconds: float = 3, rounds: int = 3) -> dict[str, Any]:
    """Measure everybody; returns and prints sink, figures (medians) and verdicts.

    `figures` maps a client to `per_second`, `cpu_us` (client process, per request)
    and `requests`. RuntimeError when any client got an answer that was not expected.
    """
    names = _names()
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with sink() as where:
        for number in range(rounds):
            for name in names:
                if name == LIMIT:
                    one = _run_h2load(where, seconds)
                else:
                    one = _run_client(name, where, seconds)
                results[name].append(one)
                rate = f"{one['per_second']:,.0f}"
                print(
                    f"round {number + 1}: {name:<12}{rate:>10} requests/s", flush=True
                )
        sink_name = where.name
    figures = _medians(results)
    result = {
        "sink": sink_name,
        "seconds": seconds,
        "rounds": rounds,
        "body_bytes": len(BODY),
        "in_flight": IN_FLIGHT,
        "figures": figures,
        "verdicts": _verdicts(figures),
    }
    _show(result)
    return result


if __name__ == "__main__":
    run()
