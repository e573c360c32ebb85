"""`make soak`: steady traffic and mild faults for a while, and what grows of it."""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

import psycopg
import redis
import tests.support.children  # noqa: F401 - before gRPC: see there
from tests.disaster.callers import call
from tests.disaster.schedule import TOPIC, Plan
from tests.disaster.stage import Stage, make_template, open_stage
from tests.support.postgres import start_postgres, temporary_root

DEVICES = 1000
SENDS_A_S = 8.0
TOKENS_A_SEND = 10
BROADCAST_EVERY_S = 10.0
FAULT_EVERY_S = 15.0
SAMPLES = 240
WARM_UP = 1 / 3
"""The share of the time in which caches fill; what comes later is compared."""
MB = 1 << 20

GROWTH = {
    "memory": (0.06, 6 * MB),
    "handles": (0.0, 12),
    "threads": (0.0, 3),
    "rows": (0.05, 60),
}
"""How much the last third may have more than the one before: a share, and a number."""

_BY_TIME = ("once", "uids", "sends", "analytics", "results")
"""Rows and keys of these are kept for a time on purpose: shown, not judged."""


@dataclass
class Course:
    """One measured quantity over the time of a soak."""

    name: str
    kind: str
    values: list[float] = field(default_factory=list)

    @property
    def thirds(self) -> tuple[float, float]:
        """Its middle value in the second and in the last third."""
        size = len(self.values)
        first, second = int(size * WARM_UP), int(size * (1 + WARM_UP) / 2)
        return median(self.values[first:second]), median(self.values[second:])

    @property
    def grows(self) -> bool:
        """Whether the last third has more than may be."""
        if any(word in self.name for word in _BY_TIME):
            return False
        share, number = GROWTH[self.kind]
        before, after = self.thirds
        return after > before * (1 + share) + number


class Courses:
    """Looks at processes, tables and keys."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.found: dict[str, Course] = {}

    def look(self) -> None:
        """Add one value to each course."""
        for child in self._stage.children.values():
            with suppress(OSError):
                status = Path(f"/proc/{child.pid}/status").read_text()
                lines = dict(line.split(":", 1) for line in status.splitlines())
                kilobytes = int(lines["VmRSS"].split()[0])
                self._add(f"{child.name} memory", "memory", kilobytes * 1024)
                self._add(f"{child.name} threads", "threads", int(lines["Threads"]))
                handles = len(list(Path(f"/proc/{child.pid}/fd").iterdir()))
                self._add(f"{child.name} handles", "handles", handles)
        with suppress(psycopg.Error), psycopg.connect(self._stage.dsn) as one:
            tables = one.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            for (table,) in tables:
                row = one.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
                self._add(f"rows of {table}", "rows", 0 if row is None else row[0])
        with suppress(redis.RedisError):
            self._look_at_redis()

    def _look_at_redis(self) -> None:
        with redis.Redis(port=self._stage.redis.port, socket_timeout=2) as client:
            space = client.info("keyspace").get("db0", {})
            lasting = space.get("keys", 0) - space.get("expires", 0)
            self._add("Redis keys without an end", "rows", lasting)
            self._add("Redis keys kept for once", "rows", space.get("expires", 0))
            memory = client.info("memory")["used_memory"]
            self._add("Redis memory, once included", "memory", memory)

    def _add(self, name: str, kind: str, value: float) -> None:
        self.found.setdefault(name, Course(name, kind)).values.append(value)


class Traffic:
    """Sends and registrations at a steady pace; counts what was answered."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._chance = random.Random(1)
        self._numbers = itertools.count(1)
        self._stop = threading.Event()
        self.answered = 0
        self.failed = 0
        self._threads = [
            threading.Thread(target=self._run, args=each, daemon=True)
            for each in (
                (self._send_to_tokens, 1 / SENDS_A_S),
                (self._send_to_topic, BROADCAST_EVERY_S),
                (self._register, 0.5),
            )
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, act: Callable[[], None], every_s: float) -> None:
        while not self._stop.wait(every_s):
            try:
                act()
                self.answered += 1
            except (OSError, ValueError, KeyError):
                self.failed += 1

    def _call(self, method: str, request: dict[str, object]) -> None:
        door = self._chance.choice(self._stage.doors)
        call(door, method, request, timeout_s=5)["result"]

    def _send(self, recipient: dict[str, object]) -> None:
        number = next(self._numbers)
        message = {"data": {"of": f"s{number}"}}
        request = {
            "recipient": recipient,
            "notification": {"fcm": {"message": message}},
            "uid": f"soak.{number}",
        }
        self._call("send_push_notification", request)

    def _send_to_tokens(self) -> None:
        word = self._chance.choice(["", "", "", "flaky1-", "reset1-", "expired1-"])
        number = next(self._numbers)
        tokens = [f"{word}t{number}.{n}" for n in range(TOKENS_A_SEND)]
        self._send({"fcm_tokens": tokens})

    def _send_to_topic(self) -> None:
        self._send({"filter": {"topics": [TOPIC]}})

    def _register(self) -> None:
        request = {
            "provider": "fcm",
            "token": f"d0.{self._chance.randrange(DEVICES)}",
            "platform": "android",
            "topics": [TOPIC],
        }
        self._call("device_register", dict(request))


def mild_fault(stage: Stage, chance: random.Random) -> None:
    """Something that passes by itself within a moment."""
    match chance.randrange(3):
        case 0:
            fault = chance.choice(["internal", "reset"])
            wish = {"send": {"fault": fault, "times": 20}}
            stage.tell_provider(lambda it: it.faults.change(wish))
        case 1:
            with redis.Redis(port=stage.redis.port) as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal")
        case _:
            with psycopg.connect(stage.postgres.dsn, autocommit=True) as one:
                one.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname LIKE 'run_%'"
                )


def soak(minutes: float) -> int:
    """Run it; 1 where something grows."""
    plan = Plan(
        seed=0,
        recipients=DEVICES,
        queue="redis",
        servers=1,
        workers=2,
        takeover_s=3.0,
        latency_ms=20,
        streams=100,
        devices=tuple(f"d0.{number}" for number in range(DEVICES)),
        sends=(),
        faults=(),
    )
    with ExitStack() as stack:
        directory = tempfile.TemporaryDirectory(
            prefix="tocsin-soak-", dir=temporary_root()
        )
        root = Path(stack.enter_context(directory))
        root.chmod(0o711)
        postgres = start_postgres(root / "postgres", fsync=True)
        stack.callback(postgres.stop)
        make_template(postgres, root)
        for name in ("provider", "run"):
            (root / name).mkdir()
        stage = stack.enter_context(
            open_stage(plan, root / "run", postgres, root / "provider")
        )
        stage.begin()
        courses = Courses(stage)
        with Traffic(stage) as traffic:
            _watch(stage, courses, minutes * 60)
        delivered = sum(stage.witness.witnessed.delivered.values())
        print(
            f"{minutes:g} minutes: {traffic.answered} calls answered,"
            f" {traffic.failed} failed in a fault, {delivered} pushes delivered"
        )
        crashes = [line for child in stage.children.values() for line in child.crashes]
        print(*crashes, sep="\n", end="\n" if crashes else "")
        return 1 if _print_table(courses) or crashes else 0


def _watch(stage: Stage, courses: Courses, length_s: float) -> None:
    chance = random.Random(2)
    end = time.monotonic() + length_s
    fault_at = time.monotonic() + FAULT_EVERY_S
    while time.monotonic() < end:
        time.sleep(max(0.5, length_s / SAMPLES))
        stage.supervise()
        courses.look()
        if time.monotonic() > fault_at:
            fault_at += FAULT_EVERY_S
            with suppress(redis.RedisError, psycopg.Error):
                mild_fault(stage, chance)
        # What the imitation itself remembers is not the subject.
        stage.tell_provider(lambda it: it.witnessed.got.clear())


def _print_table(courses: Courses) -> int:
    """Print all courses; returns how many grow."""
    print(f"{'':32} {'second third':>14} {'last third':>14}")
    growing = 0
    for course in courses.found.values():
        before, after = course.thirds
        unit, by = (" MB", MB) if course.kind == "memory" else ("", 1)
        word = "  GROWS" if course.grows else ""
        growing += course.grows
        cells = [f"{value / by:.1f}{unit}" for value in (before, after)]
        print(f"{course.name:32} {cells[0]:>14} {cells[1]:>14}{word}")
    return growing


def main(arguments: Sequence[str]) -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--minutes", type=float, default=20)
    return soak(parser.parse_args(arguments).minutes)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
