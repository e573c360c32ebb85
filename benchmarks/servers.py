"""Starts what the realtime corridor's measurements call: ours, and bare ones beside.

Each is a process of its own. Nothing is measured here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ports import free_port

from benchmarks.end_to_end import KEY, process, wait_ready

ROOT = Path(__file__).resolve().parent.parent

NAMESPACE = {
    "name": "bench",
    "presence": True,
    "history_size": 100,
    "history_ttl": "60s",
    "force_recovery": True,
    "allow_subscribe_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_client": True,
    "allow_publish_for_anonymous": True,
}
"""History, recovery, presence and permissions: what a channel of an app has."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; `grpc` is 0 where it has no such port."""

    pid: int
    http: int
    grpc: int = 0


@dataclass(slots=True)
class Options:
    """What a server of ours is started with; `redis` is an address or empty.

    `more` are further sections of the configuration.
    """

    http: int = field(default_factory=free_port)
    grpc: int = field(default_factory=free_port)
    redis: str = ""
    reuse_port: bool = False
    more: dict[str, Any] = field(default_factory=dict)


@contextmanager
def tocsin(options: Options | None = None) -> Iterator[Server]:
    """`tocsin serve` with channels; the engine is memory unless Redis is named."""
    options = options or Options()
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        config, log = Path(name, "tocsin.json"), Path(name, "serve.log")
        config.write_text(json.dumps(_config(options)))
        with process(["serve", "--config", str(config)], log) as child:
            if options.reuse_port:  # the port may be another process's
                _wait_logged(log, b"gRPC API listens")
            wait_ready(options.http, log)
            yield Server(child.pid, options.http, options.grpc)


def _config(options: Options) -> dict[str, Any]:
    config: dict[str, Any] = {
        "http_server": {"port": options.http},
        "http_api": {"key": KEY},
        "grpc_api": {"port": options.grpc, "key": KEY},
        "client": {"allow_anonymous_connect_without_token": True},
        "channel": {"namespaces": [NAMESPACE]},
        **options.more,
    }
    if options.redis:
        config["engine"] = {"type": "redis", "redis": {"address": options.redis}}
    if options.reuse_port:
        config["http_server"]["reuse_port"] = True
        config["grpc_api"]["reuse_port"] = True
    return config


def _wait_logged(log: Path, text: bytes, deadline_s: float = 30) -> None:
    end = time.monotonic() + deadline_s
    while text not in (said := log.read_bytes()):
        if time.monotonic() > end:
            raise RuntimeError(f"no {text!r} in the log: {said[-2000:]!r}")
        time.sleep(0.02)


@contextmanager
def bare(kind: str) -> Iterator[Server]:
    """A server of `benchmarks.bare`: `api` or `fan_out`."""
    server = {"api": 2, "fan_out": 1}[kind]
    ports = [free_port() for _ in range(server)]
    with tempfile.TemporaryDirectory(prefix="tocsin-bench-") as name:
        log = Path(name, "bare.log")
        with log.open("wb") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.bare", kind, *map(str, ports)],
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )
        try:
            wait_ready(ports[-1], log)
            yield Server(child.pid, ports[-1], ports[0] if kind == "api" else 0)
        finally:
            child.terminate()
            child.wait()


def pin(*pids: int) -> None:
    """Servers on the first processor, this process on the others.

    Else waking one moves the other, and runs differ by what the kernel chose.
    """
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        return
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {processors[0]})
    os.sched_setaffinity(0, set(processors[1:]))
