"""Push room: how urgent a send is where its caller does not say. Pure."""

from __future__ import annotations

from tocsin.core.device import DeviceFilter
from tocsin.core.lanes import Priority
from tocsin.core.push import SendRequest, TargetKind

FEW = 10
"""So many recipients may be named by a send that counts as one to a person."""


def priority_of(request: SendRequest) -> Priority:
    """The caller's, or by the recipient.

    Up to `FEW` named recipients are transactional: raw tokens, or what one list of a
    filter names (devices, users or tokens, since all lists of a filter must match).
    More are normal, and so is a topic or condition of the provider, which is one
    request. A filter that names nobody may match everybody: that is bulk.
    """
    if request.priority is not None:
        return request.priority
    recipient = request.recipient
    if not isinstance(recipient, DeviceFilter):
        if recipient.kind is not TargetKind.TOKEN:
            return Priority.NORMAL
        return _by_number(len(recipient.targets))
    named = len(recipient.ids), len(recipient.users), _count_tokens(recipient)
    return _by_number(min((number for number in named if number), default=0))


def _by_number(named: int) -> Priority:
    if not named:
        return Priority.BULK
    return Priority.TRANSACTIONAL if named <= FEW else Priority.NORMAL


def _count_tokens(filter: DeviceFilter) -> int:
    return sum(len(group.tokens) for group in filter.provider_tokens)
