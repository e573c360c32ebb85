"""Hub room: subscribers of a channel that get exactly the same bytes.

It must not look at positions: what reaches a group goes to all of its members.
"""

from __future__ import annotations

from typing import NamedTuple

from tocsin.hub.arrival import Arrival
from tocsin.hub.subscription import Sink, Subscription
from tocsin.hub.turn import Turn
from tocsin.protocol.frames import ForeignData, WireForm
from tocsin.protocol.tags_filter import Condition
from tocsin.telemetry.client_metrics import ClientMetrics


class GroupKey(NamedTuple):
    """What members have in common. `is_ready`: they hold data that a delta may change.

    A named tuple, because it is compared and hashed as fast as a plain tuple, and a
    dataclass is not. It takes longer to make, but that happens once for each join.
    """

    form: WireForm
    is_positioned: bool
    wants_delta: bool
    is_ready: bool
    filter_key: bytes


class Group:
    """Members with one form, one filter and one state of deltas.

    `base` is the offset of the publication whose data every member holds, as far
    as it is known: a delta may follow it.
    """

    __slots__ = (
        "_meter",
        "_pending",
        "_turn",
        "base",
        "condition",
        "form",
        "is_positioned",
        "members",
        "wants_delta",
    )

    def __init__(self, turn: Turn, form: WireForm, meter: ClientMetrics) -> None:
        self._turn = turn
        self._meter = meter
        self._pending: list[bytes] = []
        self.form = form
        self.is_positioned = False
        self.wants_delta = False
        self.condition: Condition | None = None
        self.base = 0
        self.members: dict[Subscription, Sink] = {}

    def send(self, arrival: Arrival) -> bool:
        """Pass a publication to all members; `False` where their filter drops it.

        Raises `ForeignData`.
        """
        if self.condition is not None and not self.condition(arrival.publication.tags):
            return False
        if not self.wants_delta:
            self.push(arrival.full(self.form))
            return True
        offset = arrival.publication.offset
        follows = offset > 1 and self.base == offset - 1
        if follows and arrival.previous is not None:
            self.push(arrival.delta(self.form))
        else:
            self.push(arrival.full(self.form, negotiated_delta=True))
        self.base = offset
        return True

    def push(self, frame: bytes, kind: str = "push_publication") -> None:
        """Keep framed bytes for all members until the end of the turn."""
        count = len(self.members)
        self._meter.sent(self.form.transport, kind, count, count * len(frame))
        if not self._pending:
            self._turn.add_group(self)
        self._pending.append(frame)

    def flush(self) -> None:
        """Write what is pending; also called before a member joins or leaves."""
        pending = self._pending
        if not pending:
            return
        # Cleared before the writes: a member that a write ends leaves, and `leave`
        # flushes this group again.
        self._pending = []
        if len(pending) > 1 and self.form.joinable:
            pending = [b"".join(pending)]
        # A copy: a connection that is too slow leaves while it is written to.
        for sink in list(self.members.values()):
            for frame in pending:
                sink.write(frame)


def send_alone(
    subscription: Subscription, arrival: Arrival, meter: ClientMetrics
) -> None:
    """Pass a publication to one subscriber outside of any group, as a whole."""
    if subscription.condition is not None and not subscription.condition(
        arrival.publication.tags
    ):
        return
    try:
        frame = arrival.full(
            subscription.form, negotiated_delta=subscription.wants_delta
        )
    except ForeignData:
        subscription.owner.refuse_data()
    else:
        subscription.sink.write(frame)
        meter.sent(subscription.form.transport, "push_publication", 1, len(frame))
