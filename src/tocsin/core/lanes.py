"""Lanes: how urgent work is, what each queue is called, and which lanes are chosen.

This is the only place that makes or reads the name of a queue. Pure values, no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple


class Priority(StrEnum):
    """How urgent a send is, the most urgent first. Each has lanes of its own."""

    TRANSACTIONAL = "transactional"
    NORMAL = "normal"
    BULK = "bulk"


EXPAND, SEND = "expand", "send"
"""The stages of a send: a filter becomes batches, a batch goes to its provider."""

_RETRY = "retry"


class QueuePlace(NamedTuple):
    """What the name of a queue says."""

    stage: str
    provider: str
    priority: Priority = Priority.NORMAL
    is_retry: bool = False


@lru_cache(maxsize=1024)
def queue_name(
    stage: str,
    provider: str,
    priority: Priority = Priority.NORMAL,
    *,
    is_retry: bool = False,
) -> str:
    """`send:fcm:bulk`; the name used in ports, metrics and CLI.

    The normal lane has no word for it: `send:fcm` held everything before there were
    lanes. Batches that were tried before wait apart, in `send:fcm:bulk:retry`.
    """
    parts = [stage, provider]
    if priority is not Priority.NORMAL:
        parts.append(priority.value)
    if is_retry:
        parts.append(_RETRY)
    return ":".join(parts)


def parse_queue_name(name: str) -> QueuePlace:
    """The reverse of `queue_name`; words of a newer release are passed over."""
    stage, _, rest = name.partition(":")
    provider, *words = rest.split(":")
    known = {priority.value: priority for priority in Priority}
    priority = next((known[w] for w in words if w in known), Priority.NORMAL)
    return QueuePlace(stage, provider, priority, _RETRY in words)


def queue_names(
    provider: str, priorities: Iterable[Priority] = tuple(Priority)
) -> list[str]:
    """All queues of a provider in these lanes, the most urgent first."""
    return [
        name
        for priority in priorities
        for name in (
            queue_name(EXPAND, provider, priority),
            *send_queues(provider, priority),
        )
    ]


def send_queues(provider: str, priority: Priority) -> tuple[str, str]:
    """The queue of fresh batches, and that of those that were tried before."""
    return (
        queue_name(SEND, provider, priority),
        queue_name(SEND, provider, priority, is_retry=True),
    )


def batch_queues(provider: str) -> list[str]:
    """All queues of batches for a provider, of every lane."""
    return [name for each in Priority for name in send_queues(provider, each)]


def retry_queue(queue: str) -> str:
    """Where the work of this queue waits once it was tried."""
    place = parse_queue_name(queue)
    return queue_name(place.stage, place.provider, place.priority, is_retry=True)


@dataclass(frozen=True, slots=True)
class LaneChoice:
    """The lanes that a worker takes work from: all of them, unless some are named.

    Each text is a priority (`bulk`), a provider (`fcm`), or both (`fcm:bulk`).
    """

    texts: tuple[str, ...] = ()

    def takes(self, provider: str, priority: Priority) -> bool:
        """Whether the lane of that provider and priority is among them."""
        if not self.texts:
            return True
        named = {provider, priority.value, f"{provider}:{priority.value}"}
        return not named.isdisjoint(self.texts)

    def find_unknown(self, providers: Collection[str]) -> str | None:
        """The first text that names no lane of these providers, or `None`."""
        priorities = [priority.value for priority in Priority]
        for text in self.texts:
            first, colon, second = text.partition(":")
            if colon:
                is_known = first in providers and second in priorities
            else:
                is_known = first in providers or first in priorities
            if not is_known:
                return text
        return None
