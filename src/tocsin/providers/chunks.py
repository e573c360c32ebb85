"""Sends a batch as requests of several recipients each, as fast as the pace allows.

For providers that take many recipients at once, or that speak HTTP/1.1; what a
request looks like and what its answer means is the provider's own business.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from tocsin.core.lanes import Priority
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, Report
from tocsin.providers.answer_class import DRY_RUN
from tocsin.providers.http1 import Http1Client, RequestFailed
from tocsin.providers.json_message import InvalidMessage, JsonTemplate
from tocsin.providers.outcomes import report_all


@dataclass(frozen=True, slots=True)
class Split:
    """The service wants separate requests for these groups of indexes into the targets.

    Nothing was sent to anybody yet. Each group must be smaller than the whole chunk,
    or splitting would never end.
    """

    groups: Sequence[Sequence[int]]


Found = Outcome | list[Outcome] | Split
SendChunk = Callable[[JsonTemplate, Sequence[str]], Awaitable[Found]]
"""One request with this message to these targets: one outcome for all of them, or
one for each in order. It may raise `RequestFailed`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a service takes: its client, recipients per request, and target fields.

    `validates` says that `exchange` honours `validate_only`; without it a dry run
    ends before any request. `refuse` gives the outcome of a target that would make the
    service refuse the whole request, or `None`.
    """

    http: Http1Client
    size: int
    target_keys: Collection[str]
    validates: bool = False
    refuse: Callable[[str], Outcome | None] | None = None


async def send_batch(
    batch: Batch, report: Report, pace: Pace, shape: Shape, exchange: SendChunk
) -> None:
    """Do what `PushProvider.send` promises, given how to do one request.

    Recipients with the same message share requests, also where rendering gave
    each one a message of its own.
    """
    pending: Sequence[int] = batch.pending
    if shape.refuse is not None:
        pending = _drop_refused(batch, shape.refuse, report)
    todo = deque(_cut(batch, pending, shape.size))
    # By message: chunks of one message parse it once.
    templates: dict[bytes, JsonTemplate] = {}

    async def send(message: bytes, chunk: Sequence[int]) -> None:
        found: Found
        try:
            template = templates.get(message)
            if template is None:
                template = JsonTemplate(message, shape.target_keys)
                templates[message] = template
            if batch.validate_only and not shape.validates:
                found = DRY_RUN
            else:
                targets = [batch.targets[index] for index in chunk]
                found = await exchange(template, targets)
        except InvalidMessage as wrong:
            found = Outcome(
                Verdict.REJECTED, "invalid_message", str(wrong), of_body=True
            )
        except RequestFailed as failure:
            found = failure.outcome
        if isinstance(found, Outcome):
            report_all(chunk, found, report)
        elif isinstance(found, Split):
            # Taken up by the lane that is running this: it looks at `todo`
            # again.
            todo.extend((message, [chunk[i] for i in one]) for one in found.groups)
        else:
            for index, outcome in zip(chunk, found, strict=True):
                report(index, outcome)

    await _run_lanes(todo, send, pace, shape.http, batch.priority)


_Chunk = tuple[bytes, Sequence[int]]


def _drop_refused(
    batch: Batch, refuse: Callable[[str], Outcome | None], report: Report
) -> list[int]:
    """Report the targets that no request can hold; returns the others."""
    good: list[int] = []
    for index in batch.pending:
        outcome = refuse(batch.targets[index])
        if outcome is None:
            good.append(index)
        else:
            report(index, outcome)
    return good


def _cut(batch: Batch, pending: Sequence[int], size: int) -> Iterator[_Chunk]:
    """Pieces of at most `size` indexes that share a message."""
    groups: dict[bytes, list[int]] = {}
    if batch.bodies is None:
        groups[batch.body.message] = list(pending)
    else:
        for index in pending:
            groups.setdefault(batch.bodies[index].message, []).append(index)
    for message, indexes in groups.items():
        for at in range(0, len(indexes), size):
            yield message, indexes[at : at + size]


async def _run_lanes(
    todo: deque[_Chunk],
    send: Callable[[bytes, Sequence[int]], Awaitable[None]],
    pace: Pace,
    http: Http1Client,
    priority: Priority,
) -> None:
    """Send all pieces; what the pace no longer lets start is left out."""
    stopped = False

    async def run_lane() -> None:
        nonlocal stopped
        while todo and not stopped:
            # The slot comes before the pace: a request that was let through
            # starts at once.
            async with http.slots.held(priority):
                if not (pace.ready() or await pace.wait()):
                    stopped = True
                # Others may have taken the last one meanwhile.
                if todo and not stopped:
                    await send(*todo.popleft())

    # The usual small send needs no tasks. A split adds to `todo`, and one lane does
    # that.
    if len(todo) == 1:
        await run_lane()
        return
    async with asyncio.TaskGroup() as group:
        for _ in range(min(http.max_connections, len(todo))):
            group.create_task(run_lane())
