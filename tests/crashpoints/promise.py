"""What has to be true after every life."""

from __future__ import annotations

from collections import Counter

from tests.crashpoints.world import (
    CONCURRENCY,
    MAX_UNRECORDED,
    Kept,
    World,
)

from tocsin.core.accounts import Part
from tocsin.core.send_log import Progress, SendRecord

PARTS = {
    "ok": {Part.DELIVERED},
    "retry": {Part.DELIVERED},
    "dead": {Part.REMOVED},
    "gone": {Part.DEAD},
    "bad": {Part.DEAD},
}


async def find_broken(world: World, *, faults: int) -> list[str]:
    """Each sentence of the promise that does not hold; none may."""
    records = await world.stores.records()
    letters: Counter[str] = Counter()
    for _, targets in await world.stores.letters():
        letters.update(targets)
    found = list(world.complaints)
    by_label: dict[str, list[SendRecord]] = {label: [] for label in world.kept}
    for record in records:
        by_label[record.correlation_id].append(record)
        found += _check_account(record)
    for label, kept in world.kept.items():
        rows = by_label[label]
        if len(rows) > 1 and kept.request.uid:
            found.append(f"{label}: the uid has {len(rows)} sends")
        if not rows:
            if kept.answered:
                found.append(f"{label}: answered, and not in the log")
            continue
        found += _check_send(world, label, kept, rows[-1], letters)
    found += _check_duplicates(world, faults)
    return found


def _check_account(record: SendRecord) -> list[str]:
    label, account = record.correlation_id, record.account
    found = []
    if fault := account.find_fault():
        found.append(f"{label}: {fault}")
    if not record.progress.is_over:
        found.append(f"{label}: is {record.progress} for ever")
    elif account.open or account.walks:
        found.append(f"{label}: is {record.progress}, and something is open")
    return found


def _check_send(
    world: World, label: str, kept: Kept, record: SendRecord, letters: Counter[str]
) -> list[str]:
    services, parts = world.services, record.account.parts
    asked = [token for token in kept.tokens if services.asked[token]]
    is_refused = record.progress is Progress.REFUSED
    if is_refused or record.progress is Progress.CANCELLED:
        found = [f"{label}: {record.progress}, and sent to {t}" for t in asked]
        if kept.answered and is_refused:
            found.append(f"{label}: answered, and refused")
        if not is_refused and not kept.cancel_answered_at_ms:
            found.append(f"{label}: cancelled by nobody")
        return found
    if kept.cancel_answered_at_ms and kept.cancel_answered_at_ms < record.due_at_ms:
        return [f"{label}: taken back before it was due, and {record.progress}"]
    expected: Counter[str] = Counter()
    found = []
    if record.progress is Progress.EXPIRED:
        return found
    for token in kept.tokens:
        kind = token.split("-")[1]
        part = Part.DELIVERED if kind == "retry" else next(iter(PARTS[kind]))
        expected[part.value] += 1
        if not services.asked[token]:
            found.append(f"{label}: {token} is lost")
        elif part is Part.DELIVERED and not services.delivered[token]:
            found.append(f"{label}: {token} was never delivered")
        elif part is Part.DEAD and not letters[token]:
            found.append(f"{label}: {token} is in no dead letter")
        elif part is not Part.DEAD and letters[token]:
            found.append(f"{label}: {token} is in a dead letter")
        if not world.losses and letters[token] > 1:
            found.append(f"{label}: {token} is in {letters[token]} dead letters")
    if not world.losses and +parts != expected:
        found.append(f"{label}: counted {dict(+parts)}, not {dict(expected)}")
    return found


def _check_duplicates(world: World, faults: int) -> list[str]:
    twice = {t: n for t, n in world.services.delivered.items() if n > 1}
    if not world.counts_duplicates:
        return []
    most = faults * (MAX_UNRECORDED + CONCURRENCY)
    if world.losses:
        return [
            f"{token} came {n} times"
            for token, n in twice.items()
            if n > 1 + faults + world.losses
        ]
    extra = sum(n - 1 for n in twice.values())
    if extra > most:
        return [f"{extra} pushes came again, at most {most} may: {sorted(twice)}"]
    return []
