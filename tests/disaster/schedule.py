"""Who sends what and what goes wrong when: all of it follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

FAULTS = ("kills", "pauses", "outages", "disks", "clocks", "provider", "stores")
"""Classes of faults."""
CALLERS = ("cancel", "uid")
"""Classes of callers who make it hard: late cancels, one uid at two doors."""
CLASSES = (*FAULTS, *CALLERS)

CALLS_S = 5.0
"""All calls and beginnings of faults fall into this time, but for some that wait."""
TAKEOVERS_S = (1.0, 1.5, 2.0)
MOST_TAKEOVERS = 15
TOPIC = "all"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that begins at a moment of the run and is over `lasts_s` later."""

    at_s: float
    kind: str
    target: str
    lasts_s: float
    how: str = ""

    def __str__(self) -> str:
        words = [self.target, self.kind, self.how]
        return f"{' '.join(filter(None, words))} {self.at_s:.1f}+{self.lasts_s:.1f} s"


@dataclass(frozen=True, slots=True)
class Send:
    """One send: to whom, when, and how its caller behaves.

    `tokens` are all who are to get it. `kind` is `topic`, `users` or `tokens`. `style`
    is `once` (no uid, called once), `repeat` (a uid, until there is an answer), `twin`
    (the same from two callers at once) or `again` (answered, then called once more).
    `due_in_s`, `cancel_in_s` and `expires_in_s` count from the call; 0 is none.
    """

    name: str
    at_s: float
    kind: str
    tokens: tuple[str, ...]
    style: str
    due_in_s: float = 0.0
    cancel_in_s: float = 0.0
    expires_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run. `devices` are the tokens of the registry, the topic's devices.

    `most_twice` recipients may get a send twice, where that is known beforehand.
    `connections` and `batch_size` are what a worker is configured with.
    """

    seed: int
    recipients: int
    queue: str
    servers: int
    workers: int
    takeover_s: float
    latency_ms: int
    streams: int
    devices: tuple[str, ...]
    sends: tuple[Send, ...]
    faults: tuple[Fault, ...]
    most_twice: int | None = None
    connections: int = 1
    batch_size: int = 100

    @property
    def ends_s(self) -> float:
        """When the last fault is over."""
        return max([each.at_s + each.lasts_s for each in self.faults], default=0.0)

    @property
    def loses_data(self) -> bool:
        """Whether a store is to lose what it had."""
        return any(fault.kind in STORE_LOSSES for fault in self.faults)

    def has(self, kind: str) -> bool:
        return any(fault.kind == kind for fault in self.faults)


STORE_LOSSES = frozenset({"comes back empty", "log cut", "fails over", "restored"})

# What a provider does to every request for a while, and how likely it is drawn.
_ANSWERS = {
    "slow": 2,
    "unavailable": 3,
    "internal": 3,
    "html": 2,
    "gateway": 1,
    "reset": 3,
    "drop": 2,
    "cut": 1,
    "page": 1,
    "half": 1,
    "stall": 1,
    "silent": 1,
    "quotasec": 1,
    "mismatch": 2,
    "thirdparty": 1,
    "denied": 1,
    "lost": 1,
    "dead": 1,
}
# Faults of single recipients, by the word that their token begins with.
_WORDS = (
    "dead",
    "badtoken",
    "badpayload",
    "flaky1",
    "flaky2",
    "expired1",
    "reset1",
    "drop1",
    "slow700",
    "page",
    "empty",
)


def make_plan(
    seed: int,
    recipients: int = 2000,
    classes: Collection[str] = CLASSES,
    calls_s: float = CALLS_S,
) -> Plan:
    """The run of that seed; the same arguments give the same plan."""
    chance = random.Random(seed)
    takeover_s = chance.choice(TAKEOVERS_S)
    queue = chance.choice(["redis", "redis", "redis", "postgresql"])
    servers, workers = chance.choice([1, 2]), chance.choice([1, 2, 2, 3])
    devices = tuple(_tokens(chance, seed, "d", recipients // 2, classes))
    rest = recipients - len(devices)
    sends = list(_sends(chance, seed, devices, rest, classes, calls_s))
    first = Send("s0", chance.uniform(0, 0.8), "topic", devices, "repeat")
    plan = Plan(
        seed,
        recipients,
        queue,
        servers,
        workers,
        takeover_s,
        latency_ms=chance.choice([30, 80, 150, 300]),
        streams=chance.choice([20, 50, 100]),
        devices=devices,
        sends=(first, *sends),
        faults=(),
    )
    kinds = [name for name in FAULTS if name in classes]
    faults = _Drawing(chance, plan, kinds, calls_s).draw()
    return replace(plan, faults=tuple(sorted(faults, key=lambda fault: fault.at_s)))


ONE_KILL = "one-kill"
"""The plain case: a broadcast, and one of two workers killed in its middle."""


def make_one_kill(seed: int, recipients: int = 20_000) -> Plan:
    """As the product is set up by default; one percent may come twice."""
    chance = random.Random(seed)
    devices = tuple(f"d{seed}.{number}" for number in range(recipients))
    latency_ms = 60
    # Two workers with two connections of a hundred streams each.
    length_s = recipients / 400 * latency_ms / 1000
    at_s = round(1.0 + length_s * chance.uniform(0.2, 0.8), 2)
    return Plan(
        seed,
        recipients,
        "redis",
        servers=1,
        workers=2,
        takeover_s=2.0,
        latency_ms=latency_ms,
        streams=100,
        devices=devices,
        sends=(Send("s0", 0.2, "topic", devices, "repeat"),),
        faults=(Fault(at_s, "ended", "worker0", 1.0, "SIGKILL"),),
        most_twice=recipients // 100,
        connections=2,
        batch_size=500,
    )


def _tokens(
    chance: random.Random, seed: int, kind: str, count: int, classes: Collection[str]
) -> Iterator[str]:
    for number in range(count):
        word = ""
        if "provider" in classes and chance.random() < 0.06:
            word = chance.choice(_WORDS) + "-"
        yield f"{word}{kind}{seed}.{number}"


def _sends(
    chance: random.Random,
    seed: int,
    devices: tuple[str, ...],
    recipients: int,
    classes: Collection[str],
    calls_s: float,
) -> Iterator[Send]:
    """Smaller sends with so many recipients in all."""
    number = 0
    while recipients > 0:
        number += 1
        size = min(recipients, int(chance.triangular(1, 160, 30)))
        recipients -= size
        kind = chance.choice(["users", "tokens"])
        if kind == "users":
            tokens = tuple(chance.sample(devices, min(size, len(devices))))
        else:
            tokens = tuple(_tokens(chance, seed, f"r{number}.", size, classes))
        style = chance.choice(["once", "repeat", "again"])
        send = Send(f"s{number}", chance.uniform(0, calls_s), kind, tokens, style)
        what = chance.random()
        if "uid" in classes and what < 0.2:
            send = replace(send, style="twin")
        elif "cancel" in classes and what < 0.45:
            due_s = chance.uniform(1.0, 3.0)
            # Due times are whole seconds: the cancel falls around one of them.
            send = replace(
                send,
                style="repeat",
                due_in_s=due_s,
                cancel_in_s=max(0.1, due_s + chance.uniform(-1.2, 0.6)),
            )
        elif what < 0.55:
            send = replace(send, due_in_s=chance.uniform(1.0, 4.0))
        elif what < 0.63:
            send = replace(send, expires_in_s=chance.choice([2.0, 4.0, 8.0]))
        yield send


class _Drawing:
    """Draws faults such that no two of one target overlap."""

    def __init__(
        self, chance: random.Random, plan: Plan, classes: list[str], calls_s: float
    ) -> None:
        self._calls_s = calls_s
        self._chance = chance
        self._plan = plan
        self._classes = classes
        self._free_from: dict[str, float] = {}
        self._has_lost = False

    def draw(self) -> list[Fault]:
        count = self._chance.randint(2, 6) if self._classes else 0
        drawn = [self._one() for _ in range(count)]
        return [fault for fault in drawn if fault is not None]

    def _one(self) -> Fault | None:
        chance, name = self._chance, self._chance.choice(self._classes)
        fault: Fault | None = getattr(self, f"_{name}")()
        if fault is None:
            return None
        free_s = self._free_from.get(fault.target, 0.3)
        at_s = max(free_s, chance.uniform(0.3, self._calls_s))
        if at_s > 2 * self._calls_s:
            return None  # behind a long one: all is over by then
        self._free_from[fault.target] = at_s + fault.lasts_s + 0.5
        return replace(fault, at_s=round(at_s, 2), lasts_s=round(fault.lasts_s, 2))

    def _kills(self) -> Fault:
        chance = self._chance
        target = chance.choice([self._worker(), self._worker(), self._server()])
        how = chance.choice(["SIGKILL", "SIGKILL", "SIGTERM"])
        return Fault(0, "ended", target, chance.choice([0.0, 0.3, 1.5]), how)

    def _pauses(self) -> Fault:
        chance = self._chance
        target = chance.choice([self._worker(), self._worker(), self._server()])
        if self._plan.queue == "redis" and chance.random() < 0.2:
            target = "redis"
        length_s = self._plan.takeover_s * chance.uniform(0.3, 3.0)
        return Fault(0, "paused", target, length_s)

    def _outages(self) -> Fault:
        chance = self._chance
        target = self._store("provider")
        how = chance.choice(["stopped", "killed"])
        return Fault(0, "away", target, self._outage_s(), how)

    def _disks(self) -> Fault:
        return Fault(0, "disk full", self._store(), self._outage_s())

    def _clocks(self) -> Fault:
        chance = self._chance
        target = chance.choice([self._worker(), self._server()])
        step_s = chance.choice([-7200, -60, -3, 3, 60, 7200])
        return Fault(0, "clock steps", target, chance.uniform(1, 4), f"{step_s:+d} s")

    def _provider(self) -> Fault:
        chance = self._chance
        kind = chance.random()
        if kind < 0.12:
            return Fault(0, "forgets tokens", "provider", 0.0)
        if kind < 0.24:
            status = chance.choice(["401 invalid_client", "500", "400 invalid_grant"])
            return Fault(0, "grants no token", "provider", 1.0, status)
        if kind < 0.34:
            return Fault(0, "says goodbye", "provider", 2.0, "after 20 requests")
        if kind < 0.42:
            return Fault(0, "talks garbage", "provider", chance.uniform(0.5, 2.0))
        how = chance.choices(list(_ANSWERS), list(_ANSWERS.values()))[0]
        return Fault(0, "answers", "provider", chance.uniform(0.3, 3.0), how)

    def _stores(self) -> Fault | None:
        """One loss a run; a queue beside its sends in one database has no memory."""
        if self._plan.queue != "redis" or self._has_lost:
            return None
        self._has_lost = True
        chance = self._chance
        away_s = chance.choice([0.0, 1.0, 2 * self._plan.takeover_s])
        kind = chance.choice([*sorted(STORE_LOSSES), "restored"])
        if kind == "restored":
            target = chance.choice(["redis", "postgres"])
            return Fault(0, kind, target, away_s, f"{chance.uniform(0.3, 2):.1f} s old")
        how = ""
        if kind == "fails over":
            how = f"{chance.uniform(0.1, 1.5):.1f} s behind"
        elif kind == "log cut":
            how = f"{chance.choice([2, 20, 60])} kB"
        return Fault(0, kind, "redis", away_s, how)

    def _worker(self) -> str:
        return f"worker{self._chance.randrange(self._plan.workers)}"

    def _server(self) -> str:
        return f"server{self._chance.randrange(self._plan.servers)}"

    def _store(self, *more: str) -> str:
        stores = ["postgres", *more]
        return self._chance.choice(
            ["redis", *stores] if self._plan.queue == "redis" else stores
        )

    def _outage_s(self) -> float:
        """Mostly a few take-overs, at times the longest there are."""
        most = 3 if self._chance.random() < 0.75 else MOST_TAKEOVERS
        return self._chance.uniform(1.0, max(1.5, most * self._plan.takeover_s))
