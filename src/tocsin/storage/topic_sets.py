"""Sets of topics with their origins, and the difference of two. Pure.

Part of the storage room; it must do no I/O and know no table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tocsin.core.device import TopicOp, TopicOrigin, TopicsChange
from tocsin.core.errors import BadRequest

Origins = Mapping[str, TopicOrigin]
"""The topics that a device holds, and why it holds each."""


@dataclass(slots=True)
class RowChanges:
    """What has to be written so that a device's rows become what is wanted."""

    gone: list[str] = field(default_factory=list)
    changed: list[tuple[str, TopicOrigin]] = field(default_factory=list)
    added: list[tuple[str, TopicOrigin]] = field(default_factory=list)


def change_list(held: Collection[str], change: TopicsChange) -> list[str]:
    """A list of topics after an operation, without doubles, in stable order."""
    given = dict.fromkeys(change.topics)
    if change.op is TopicOp.SET:
        return list(given)
    if change.op is TopicOp.ADD:
        return list(dict.fromkeys([*held, *given]))
    return [topic for topic in held if topic not in given]


def change_origin(
    held: Origins, change: TopicsChange, origin: TopicOrigin
) -> dict[str, TopicOrigin]:
    """A device's topics after an operation on the topics of one origin only.

    A topic that has another origin too survives its removal here.
    """
    own = [topic for topic, why in held.items() if why & origin]
    wanted = set(change_list(own, change))
    result: dict[str, TopicOrigin] = {}
    for topic in dict.fromkeys([*held, *change.topics]):
        # This origin is judged anew; the others stay.
        why = held.get(topic, TopicOrigin(0)) & ~origin
        if topic in wanted:
            why |= origin
        if why:
            result[topic] = why
    return result


def topics_of(
    own: Iterable[str], bound: Iterable[str], everybody: Iterable[str]
) -> dict[str, TopicOrigin]:
    """A new device's topics: its own, its user's, and the ones bound to everybody."""
    result: dict[str, TopicOrigin] = {}
    for topics, origin in (
        (own, TopicOrigin.DEVICE),
        (bound, TopicOrigin.USER),
        (everybody, TopicOrigin.GLOBAL),
    ):
        for topic in topics:
            result[topic] = result.get(topic, TopicOrigin(0)) | origin
    return result


def find_row_changes(
    rows: Mapping[str, tuple[str, TopicOrigin]], wanted: Origins
) -> RowChanges:
    """What has to change in stored rows, topic → (row id, origins)."""
    changes = RowChanges()
    for topic, (row_id, origins) in rows.items():
        why = wanted.get(topic)
        if why is None:
            changes.gone.append(row_id)
        elif why != origins:
            changes.changed.append((row_id, why))
    changes.added.extend(
        (topic, why) for topic, why in wanted.items() if topic not in rows
    )
    return changes


def check_count(topics: Collection[str], limit: int) -> None:
    """Refuse a list over the limit; doubles count once."""
    count = len(set(topics))
    if count > limit:
        raise BadRequest(
            "topics", f"must hold at most {limit} topics, would be {count}"
        )


def check_own_count(held: Origins, limit: int) -> None:
    """Refuse a device with too many topics of its own.

    Those bound to its user or to everybody have their own limit and do not
    count: otherwise a change of the user's list could fail for one device.
    """
    check_count([t for t, why in held.items() if why & TopicOrigin.DEVICE], limit)
