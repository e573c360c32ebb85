"""Sessions room: what a subscriber missed, and where its stream stands.

It must not write to the client; it reads the broker and builds the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.core.channel import (
    ChannelOptions,
    History,
    HistoryFilter,
    Publication,
    RecoveryMode,
    StreamPosition,
)
from tocsin.core.errors import UnrecoverablePosition
from tocsin.core.ports.channels import Broker
from tocsin.protocol import client_pb2 as pb
from tocsin.protocol.delta import create_delta
from tocsin.protocol.frames import (
    Encoding,
    ForeignData,
    WireForm,
    publication_message,
    quote_data,
)
from tocsin.protocol.json_text import embed_in_line
from tocsin.protocol.tags_filter import Condition


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was read from the stream at subscribe; `top` is where it ends."""

    top: StreamPosition
    publications: tuple[Publication, ...] = ()
    recovered: bool = False
    was_recovering: bool = False


async def read_position(
    broker: Broker, channel: str, options: ChannelOptions
) -> Recovery:
    """Where the stream stands, without publications."""
    history = await _fetch(broker, channel, options, HistoryFilter())
    return Recovery(history.top)


async def recover(
    broker: Broker,
    channel: str,
    options: ChannelOptions,
    since: StreamPosition,
    *,
    limit: int,
) -> Recovery:
    """All that came after `since`, or nothing where a part of it is missing.

    In the cache mode: the latest publication only.
    """
    if options.force_recovery_mode == RecoveryMode.CACHE:
        return await _recover_latest(broker, channel, options, since)
    filter = HistoryFilter(limit=limit if limit > 0 else -1, since=since)
    try:
        history = await _fetch(broker, channel, options, filter)
    except UnrecoverablePosition:
        position = await read_position(broker, channel, options)
        return Recovery(position.top, was_recovering=True)
    found, top = history.publications, history.top
    # A first one that does not follow: history was trimmed. A last one below the top:
    # the limit cut it off.
    if found:
        complete = (
            found[0].offset == since.offset + 1 and found[-1].offset == top.offset
        )
    else:
        complete = top.offset == since.offset
    return Recovery(top, found if complete else (), complete, was_recovering=True)


async def _recover_latest(
    broker: Broker, channel: str, options: ChannelOptions, since: StreamPosition
) -> Recovery:
    filter = HistoryFilter(limit=1, reverse=True)
    history = await _fetch(broker, channel, options, filter)
    top = history.top
    if since.epoch == top.epoch and 0 < since.offset == top.offset:
        return Recovery(top, recovered=True, was_recovering=True)
    latest = history.publications
    recovered = bool(latest) and latest[0].offset == top.offset
    return Recovery(top, latest if recovered else (), recovered, was_recovering=True)


async def _fetch(
    broker: Broker, channel: str, options: ChannelOptions, filter: HistoryFilter
) -> History:
    return await broker.fetch_history(
        channel, filter, meta_ttl_s=options.history_meta_ttl
    )


def recovered_messages(
    form: WireForm,
    recovery: Recovery,
    *,
    condition: Condition | None,
    wants_delta: bool,
) -> list[pb.Publication]:
    """The publications as they stand in the result; raises `ForeignData`.

    With deltas the first is whole and each further one a change of the one before.
    """
    epoch = recovery.top.epoch
    messages: list[pb.Publication] = []
    before: Publication | None = None
    for publication in recovery.publications:
        if condition is not None and not condition(publication.tags):
            continue
        if wants_delta:
            messages.append(_delta_message(form, publication, before, epoch))
            before = publication
        else:
            messages.append(publication_message(publication, epoch))
    return messages


def _delta_message(
    form: WireForm, publication: Publication, before: Publication | None, epoch: str
) -> pb.Publication:
    is_json = form.encoding is Encoding.JSON
    if is_json:
        # Only for its `ForeignData`: the client applies the deltas and parses the
        # outcome as JSON.
        embed_in_line(publication.data)
    if before is not None:
        patch = create_delta(before.data, publication.data)
        if len(patch) < len(publication.data):
            try:
                data = quote_data(patch) if is_json else patch
            except ForeignData:  # the patch splits a character: not valid UTF-8
                pass
            else:
                message = publication_message(publication, epoch, data=data)
                message.delta = True
                return message
    data = quote_data(publication.data) if is_json else publication.data
    return publication_message(publication, epoch, data=data)
