"""Channels room: asks all nodes, and makes one answer of theirs.

It must not look into a node itself, not even this one: the control bus asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tocsin.core.channel import NodeInfo
from tocsin.core.errors import BadRequest, NotAvailable
from tocsin.core.glob import BadGlob, compile_glob
from tocsin.core.ports.channels import ControlBus
from tocsin.core.surveys import (
    CHANNELS,
    CONNECTIONS,
    ConnectionAnswer,
    encode_params,
    parse_channels,
    parse_connections,
)
from tocsin.protocol.tags_filter import BadFilter, compile_label_filter


class SurveyService:
    """Channels, connections and nodes of the whole cluster.

    Every call raises `InternalError` when a node stays silent for ten seconds.
    """

    def __init__(self, bus: ControlBus) -> None:
        self._bus = bus

    async def count_channels(self, pattern: str) -> Mapping[str, int]:
        """Channels with subscribers → how many connections they have.

        An empty pattern means all. A bad one raises `BadRequest` (107), since it is the
        caller's fault; the published server answers 100 to it.
        """
        if pattern:
            try:
                compile_glob(pattern)
            except BadGlob as error:
                raise BadRequest("pattern", str(error)) from None
        counts: Counter[str] = Counter()
        for answer in await self._bus.survey(CHANNELS, encode_params(pattern=pattern)):
            counts.update(parse_channels(answer))
        return counts

    async def list_connections(
        self,
        user: str,
        *,
        expression: str = "",
        label_filter: Mapping[str, object] | None = None,
    ) -> Mapping[str, ConnectionAnswer]:
        """Connections by client id: of a user, with these labels, or both.

        Raises `BadRequest` when nothing is asked for, or the filter is bad, and
        `NotAvailable` for an `expression`.
        """
        if expression:
            raise NotAvailable("expression")
        if not user and label_filter is None:
            raise BadRequest("user", "must not be empty without a label_filter")
        found = await self.find_connections(user)
        if label_filter is None:
            return found
        try:
            fits = compile_label_filter(label_filter)
        except BadFilter as error:
            raise BadRequest("label_filter", str(error)) from None
        return {client: each for client, each in found.items() if fits(each.labels)}

    async def find_connections(self, user: str) -> dict[str, ConnectionAnswer]:
        """Connections of a user, or of everybody for an empty one, by client id."""
        found: dict[str, ConnectionAnswer] = {}
        for answer in await self._bus.survey(CONNECTIONS, encode_params(user=user)):
            found |= parse_connections(answer)
        return found

    async def list_nodes(self) -> Sequence[NodeInfo]:
        """All nodes that have reported lately."""
        return await self._bus.fetch_nodes()
