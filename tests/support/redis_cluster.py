"""A real cluster of Redis-compatible servers, and Sentinels over real servers."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer, start_redis, start_sentinel

from tocsin.redis_access.slots import SLOTS, key_slot

_BUS_OFFSET = 10_000
_DEADLINE_S = 60.0


@dataclass(slots=True)
class RedisCluster:
    """Primaries, each with an equal part of the slots in turn, and replicas."""

    primaries: list[RedisServer]
    replicas: list[RedisServer]

    @property
    def address(self) -> str:
        """The address that a configuration would name."""
        first, *others = self.primaries
        query = "&".join(f"addr={other.address}" for other in others)
        return f"redis+cluster://{first.address}?{query}"

    def flush(self) -> None:
        """Forget all keys, and let what was published so far arrive everywhere.

        A server may hear of a publication only after it has taken a subscription that
        came later: the next test's.
        """
        for server in self.primaries:
            server.flush()
        for server in self.primaries:
            wait_for(partial(_hears_all, server, self.primaries))

    def owner_of(self, key: str) -> RedisServer:
        """The primary that a key was given to at the start."""
        return self.primaries[key_slot(key) * len(self.primaries) // SLOTS]

    def channel_at(self, number: int, *, but: str = "") -> str:
        """A channel whose keys lie on this primary."""
        for n in range(10_000):
            name = f"c{n}"
            if name != but and self.owner_of(name) is self.primaries[number]:
                return name
        raise AssertionError

    def begin_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Let both know that a slot, which must be empty, is on its way."""
        ids = [ask(server, "CLUSTER", "MYID") for server in (source, target)]
        ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])

    def end_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Let all know that it has arrived."""
        others = [each for each in self.primaries if each not in (source, target)]
        name = ask(target, "CLUSTER", "MYID")
        for server in (target, source, *others):
            ask(server, "CLUSTER", "SETSLOT", slot, "NODE", name)

    def stop(self) -> None:
        """End every server."""
        for server in (*self.primaries, *self.replicas):
            server.kill()


def start_cluster(
    directory: Path, *, replicas_of: Sequence[int] = (), timeout_ms: int = 15_000
) -> RedisCluster:
    """Three primaries, and a replica for each of these; ready when it returns."""
    options = [
        *("--cluster-enabled", "yes", "--cluster-node-timeout", str(timeout_ms)),
        *("--repl-diskless-sync-delay", "0", "--cluster-require-full-coverage", "no"),
    ]
    servers = [
        start_redis(directory / str(n), options=options, choose_port=_port_with_bus)
        for n in range(3 + len(replicas_of))
    ]
    cluster = RedisCluster(servers[:3], servers[3:])
    for number, server in enumerate(cluster.primaries):
        first, last = (-(-SLOTS * n // 3) for n in (number, number + 1))
        ask(server, "CLUSTER", "ADDSLOTSRANGE", first, last - 1)
    for server in servers[1:]:
        ask(servers[0], "CLUSTER", "MEET", "127.0.0.1", server.port)
    wait_for(lambda: all(_knows(server, len(servers)) for server in servers))
    for number, replica in zip(replicas_of, cluster.replicas, strict=True):
        name = ask(cluster.primaries[number], "CLUSTER", "MYID")
        ask(replica, "CLUSTER", "REPLICATE", name)
    wait_for(lambda: all(_is_ready(server) for server in servers))
    wait_for(lambda: all(_is_in_step(replica) for replica in cluster.replicas))
    for server in servers:
        wait_for(partial(_hears_all, server, servers))
    return cluster


@dataclass(slots=True)
class Guarded:
    """A primary, its replica, and a Sentinel over both."""

    primary: RedisServer
    replica: RedisServer
    sentinel: RedisServer

    @property
    def address(self) -> str:
        """The address that a configuration would name; one Sentinel is away."""
        query = f"sentinel_master_name=main&addr={self.sentinel.address}"
        return f"redis+sentinel://127.0.0.1:{free_port()}?{query}"

    def fail_over(self) -> None:
        """Make the replica the primary; the other does not know of it for seconds."""
        wait_for(self._asks_for_failover)
        wait_for(lambda: _info(self.replica, "replication")["role"] == "master")

    def _asks_for_failover(self) -> bool:
        try:
            ask(self.sentinel, "SENTINEL", "FAILOVER", "main")
        except RedisError:  # it has not heard of a good replica yet
            return False
        return True


@contextmanager
def running_sentinel(directory: Path) -> Iterator[Guarded]:
    """A primary with one replica and a Sentinel, ready for a failover."""
    at_once = ("--repl-diskless-sync-delay", "0")
    primary = start_redis(directory / "primary", options=at_once)
    link = ("--replicaof", f"127.0.0.1 {primary.port}")
    replica = start_redis(directory / "replica", options=(*at_once, *link))
    lines = [
        f"sentinel monitor main 127.0.0.1 {primary.port} 1",
        "sentinel down-after-milliseconds main 2000",
        "sentinel failover-timeout main 20000",
    ]
    wait_for(lambda: _is_in_step(replica))
    sentinel = start_sentinel(directory / "sentinel", lines)
    try:
        wait_for(lambda: _sees_replica(sentinel))
        yield Guarded(primary, replica, sentinel)
    finally:
        for server in (sentinel, replica, primary):
            server.kill()


def ask(server: RedisServer, *command: Any) -> Any:
    """The answer of one command, as text where it is text."""
    client = Redis(port=server.port, decode_responses=True, protocol=2)
    with closing(client):
        return client.execute_command(*command)


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + _DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("the servers did not come to it")
        time.sleep(0.02)


def _hears_all(server: RedisServer, servers: Sequence[RedisServer]) -> bool:
    """Whether what any server publishes comes to this one.

    A cluster calls itself ready before each of its links stands, and a message that
    has no link is lost.
    """
    client = Redis(port=server.port, decode_responses=True, protocol=2)
    with closing(client), closing(client.pubsub()) as hearing:
        hearing.subscribe("links")
        hearing.get_message(timeout=5)
        for number, each in enumerate(servers):
            ask(each, "PUBLISH", "links", number)
        heard: set[str] = set()
        while message := hearing.get_message(timeout=0.5):
            heard.add(str(message["data"]))
            if len(heard) == len(servers):
                return True
    return False


def _knows(server: RedisServer, count: int) -> bool:
    return int(ask(server, "CLUSTER INFO")["cluster_known_nodes"]) == count


def _is_ready(server: RedisServer) -> bool:
    info = ask(server, "CLUSTER INFO")
    slots = ask(server, "CLUSTER", "SLOTS")
    return info["cluster_state"] == "ok" and len(slots) == 3


def _is_in_step(replica: RedisServer) -> bool:
    return _info(replica, "replication").get("master_link_status") == "up"


def _info(server: RedisServer, section: str) -> dict[str, Any]:
    found: dict[str, Any] = ask(server, "INFO", section)
    return found


def _sees_replica(sentinel: RedisServer) -> bool:
    found = ask(sentinel, "SENTINEL", "MASTER", "main")
    about = dict(zip(found[::2], found[1::2], strict=True))
    return bool(about["num-slaves"] == "1")


def _port_with_bus() -> int:
    # The bus has the port 10,000 above; both below those that systems give away.
    while True:
        port = random.randrange(15_000, 22_000)
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + _BUS_OFFSET))
            except OSError:
                continue
        return port
