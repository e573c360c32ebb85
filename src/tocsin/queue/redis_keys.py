"""Names of everything that the queue keeps in Redis.

Part of the queue room; it is pure and must not talk to Redis.
"""

from __future__ import annotations

GROUP = "workers"
"""The consumer group of every stream."""


class Keys:
    """Key names under one prefix.

    The braces are a hash tag: all keys share one cluster slot, which scripts
    that touch several of them need.
    """

    def __init__(self, prefix: str) -> None:
        self._tag = f"{{{prefix}}}:"
        self.progress = f"{self._tag}progress"
        self.dead = f"{self._tag}dead"
        self.sequence = f"{self._tag}sequence"
        self.origin = f"{self._tag}origin"
        self.confirm = f"{self._tag}confirm"
        self.ready = f"{self._tag}ready"

    def stream(self, queue: str) -> str:
        """The entries of a queue; all of them are unfinished."""
        return f"{self._tag}stream:{queue}"

    def delayed(self, queue: str) -> str:
        """Members due later, scored by Unix milliseconds."""
        return f"{self._tag}delayed:{queue}"

    def delayed_jobs(self, queue: str) -> str:
        """The jobs of those members."""
        return f"{self._tag}delayed-jobs:{queue}"

    def all_of(self, queue: str) -> list[str]:
        """Stream, delayed set and delayed jobs of a queue."""
        return [self.stream(queue), self.delayed(queue), self.delayed_jobs(queue)]

    def payload(self, push_id: str) -> str:
        """The payload of a request and the number of its unfinished jobs."""
        return f"{self._tag}payload:{push_id}"

    def once(self, push_id: str) -> str:
        """The mark of an accepted request."""
        return f"{self._tag}once:{push_id}"

    def scheduled(self, uid: str) -> str:
        """Where the jobs wait that can be taken back under this uid."""
        return f"{self._tag}scheduled:{uid}"

    def rate(self, name: str) -> str:
        """The token buckets of one key."""
        return f"{self._tag}rate:{name}"


def receipt_of(queue: str, entry_id: str) -> str:
    """How the queue names a delivery, also the field of its progress."""
    return f"{queue}|{entry_id}"


def parse_receipt(receipt: str) -> tuple[str, str]:
    """The queue and the entry id in a receipt."""
    queue, _, entry_id = receipt.rpartition("|")
    return queue, entry_id
