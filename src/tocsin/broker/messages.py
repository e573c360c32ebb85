"""What travels on a channel's pub/sub: bytes ⇄ values. Pure; part of the broker room.

The layouts are the published ones: a bare publication without history,
`__p1:offset:epoch__` before one with it, `__d1:…` with the one before, `__j__`
and `__l__` before the info of somebody who came or went.
"""

from __future__ import annotations

from dataclasses import dataclass

from tocsin.core.channel import ClientInfo, Publication, StreamPosition
from tocsin.protocol import client_pb2

JOIN = b"__j__"
LEAVE = b"__l__"
_POSITIONED = b"__p1:"
_WITH_PREVIOUS = b"__d1:"


@dataclass(frozen=True, slots=True)
class Published:
    """A publication, where it stands, and the data before it where delta asks."""

    publication: Publication
    position: StreamPosition
    previous: bytes | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody came."""

    info: ClientInfo


@dataclass(frozen=True, slots=True)
class Left:
    """Somebody went."""

    info: ClientInfo


def encode_publication(publication: Publication) -> bytes:
    """The stored form; the offset is the entry's id and not part of it."""
    message = client_pb2.Publication(data=publication.data)
    if publication.info is not None:
        message.info.CopyFrom(_info_message(publication.info))
    if publication.tags:
        message.tags.update(publication.tags)
    if publication.version:
        message.version = publication.version
    return message.SerializeToString()


def parse_publication(data: bytes, offset: int) -> Publication:
    """Read the stored form back; raises `ValueError` for foreign bytes."""
    try:
        message = client_pb2.Publication.FromString(data)
    except Exception as error:
        raise ValueError("not a publication") from error
    return Publication(
        data=message.data,
        offset=offset,
        info=_info_value(message.info) if message.HasField("info") else None,
        tags=dict(message.tags),
        version=message.version,
    )


def encode_info(info: ClientInfo) -> bytes:
    """The stored form of who is present."""
    return _info_message(info).SerializeToString()


def parse_info(data: bytes) -> ClientInfo:
    """Read it back; raises `ValueError` for foreign bytes."""
    try:
        return _info_value(client_pb2.ClientInfo.FromString(data))
    except Exception as error:
        raise ValueError("not a client info") from error


def parse_message(data: bytes) -> Published | Joined | Left:
    """Tell what arrived; raises `ValueError` for foreign bytes."""
    if data.startswith(JOIN):
        return Joined(parse_info(data[len(JOIN) :]))
    if data.startswith(LEAVE):
        return Left(parse_info(data[len(LEAVE) :]))
    if data.startswith(_POSITIONED):
        head, _, body = data[len(_POSITIONED) :].partition(b"__")
        position = _position(head)
        return Published(parse_publication(body, position.offset), position)
    if data.startswith(_WITH_PREVIOUS):
        return _parse_with_previous(data[len(_WITH_PREVIOUS) :])
    return Published(parse_publication(data, 0), StreamPosition())


def _parse_with_previous(data: bytes) -> Published:
    # Lengths, not separators, since the stored forms may hold any byte.
    offset, epoch, length, rest = data.split(b":", 3)
    size = int(length)
    before, rest = rest[:size], rest[size + 1 :]
    _, _, body = rest.partition(b":")
    position = _position(offset + b":" + epoch)
    return Published(
        parse_publication(body, position.offset),
        position,
        parse_publication(before, position.offset - 1).data,
    )


def _position(head: bytes) -> StreamPosition:
    offset, _, epoch = head.partition(b":")
    return StreamPosition(int(offset), epoch.decode())


def _info_message(info: ClientInfo) -> client_pb2.ClientInfo:
    return client_pb2.ClientInfo(
        user=info.user,
        client=info.client,
        conn_info=info.conn_info,
        chan_info=info.chan_info,
    )


def _info_value(message: client_pb2.ClientInfo) -> ClientInfo:
    return ClientInfo(
        message.user, message.client, message.conn_info, message.chan_info
    )
