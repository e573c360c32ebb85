"""Asks who is in charge: a cluster's nodes, or Sentinels. Redis ground room.

It must not run commands for anybody else.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NotConnected
from redis.exceptions import RedisError

from tocsin.config.redis_addresses import Node
from tocsin.redis_access.slots import SLOTS

Owners = Sequence[Node | None]
"""The server in charge of each slot; of length 1 where one has them all."""


class Topology(Protocol):
    """Somebody to ask."""

    max_age_s: float
    """Seconds after which another may be in charge, though no server has refused."""

    async def fetch(
        self, known: Mapping[Node, Redis], lost: Collection[Node]
    ) -> Owners:
        """Who is in charge now; those in `lost` are asked last.

        Raises the library's or the system's error of the last one asked.
        """

    async def close(self) -> None:
        """Close what was opened for asking."""


class ClusterTopology:
    """Asks any node of a cluster; the configured ones when no other is known."""

    max_age_s = math.inf  # a node that lost a slot answers MOVED, with the new owner

    def __init__(self, seeds: Sequence[Node], connect: Callable[[Node], Redis]) -> None:
        self._seeds = {node: connect(node) for node in seeds}

    async def fetch(
        self, known: Mapping[Node, Redis], lost: Collection[Node]
    ) -> Owners:
        """See `Topology`."""
        clients = {**self._seeds, **known}
        error: Exception | None = None
        for node in _in_turn(clients, known, lost):
            try:
                return _owners(await _run(clients[node], "CLUSTER", "SLOTS"), node)
            except (RedisError, OSError) as failed:
                error = failed
        raise error or NotConnected("no node of the cluster is known")

    async def close(self) -> None:
        """See `Topology`."""
        for client in self._seeds.values():
            await client.aclose()


class SentinelTopology:
    """Asks Sentinels for the primary, and the primary whether it is one."""

    # The old primary is the last to learn of a failover, and the writes that it takes
    # until then are lost. So Sentinels are asked again and again.
    max_age_s = 1.0

    def __init__(
        self,
        sentinels: Sequence[Node],
        master_name: str,
        connect_sentinel: Callable[[Node], Redis],
        connect: Callable[[Node], Redis],
    ) -> None:
        self._sentinels = {node: connect_sentinel(node) for node in sentinels}
        self._name = master_name
        self._connect = connect

    async def fetch(
        self, known: Mapping[Node, Redis], lost: Collection[Node]
    ) -> Owners:
        """See `Topology`."""
        del lost  # the Sentinels are others
        error: Exception | None = None
        for client in self._sentinels.values():
            try:
                named = await _run(
                    client, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name
                )
                if named is None:
                    raise NotConnected(f"Sentinel knows no {self._name}")
                node = _text(named[0]), int(named[1])
                await self._check_role(known.get(node), node)
            except (RedisError, OSError) as failed:
                error = failed
            else:
                return [node]
        raise error or NotConnected("no Sentinel is known")

    async def close(self) -> None:
        """See `Topology`."""
        for client in self._sentinels.values():
            await client.aclose()

    async def _check_role(self, client: Redis | None, node: Node) -> None:
        # During a failover a Sentinel may still name the old primary.
        asked = client or self._connect(node)
        try:
            role = await _run(asked, "ROLE")
            if _text(role[0]) != "master":
                raise NotConnected(f"the server named as {self._name} is a replica")
        finally:
            if client is None:
                await asked.aclose()


def _in_turn(
    nodes: Iterable[Node], known: Collection[Node], lost: Collection[Node]
) -> list[Node]:
    # Shuffled, so that not one node answers for all. Suspects come last, known nodes
    # before configured ones, which may have left the cluster.
    found = list(nodes)
    random.shuffle(found)
    return sorted(found, key=lambda node: (node in lost, node not in known))


def _owners(ranges: Sequence[Any], asked: Node) -> Owners:
    owners: list[Node | None] = [None] * SLOTS
    for start, end, primary, *_ in ranges:
        host = _text(primary[0] or b"")
        # Nothing or a question mark: the node does not know its own name.
        node = (asked[0] if host in ("", "?") else host), int(primary[1])
        owners[int(start) : int(end) + 1] = [node] * (int(end) - int(start) + 1)
    return owners


async def _run(client: Redis, *command: str) -> Any:
    return await client.execute_command(*command)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
