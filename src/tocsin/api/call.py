"""API room: what accompanies a request on its way through a method.

Plain values; nothing here knows a transport.
"""

from __future__ import annotations

import random
import string
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tocsin.channels.control import ControlService
from tocsin.channels.history import HistoryService
from tocsin.channels.presence import PresenceService
from tocsin.channels.publishing import Publisher
from tocsin.channels.survey import SurveyService
from tocsin.channels.users import DenialService, UserStatusService
from tocsin.core.errors import NotAvailable
from tocsin.push.devices import DeviceService
from tocsin.push.sending import SendService
from tocsin.push.status import StatusService
from tocsin.push.topics import TopicService

_ID_LENGTH = 128
_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-_.:/+=@")


@dataclass(frozen=True, slots=True)
class ChannelServices:
    """The services of the realtime corridor."""

    publisher: Publisher
    history: HistoryService
    presence: PresenceService
    control: ControlService
    survey: SurveyService
    statuses: UserStatusService
    denials: DenialService


@dataclass(frozen=True, slots=True)
class Services:
    """The services that the methods call; `realtime` is `None` without channels."""

    devices: DeviceService
    topics: TopicService
    sends: SendService
    statuses: StatusService = field(default_factory=StatusService)
    realtime: ChannelServices | None = None

    @property
    def channels(self) -> ChannelServices:
        """Those of the realtime corridor; raises `NotAvailable` without them."""
        if self.realtime is None:
            raise NotAvailable("this process has no channels")
        return self.realtime


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `correlation_id` ties its log lines and jobs together."""

    correlation_id: str


Method = Callable[[Services, Any, Any, Call], Awaitable[None]]
"""Takes services, request message, the result message to fill, and the call."""


class CommandObserver(Protocol):
    """Hears of every call that passed the key; must not block."""

    def observe_command(
        self, method: str, protocol: str, seconds: float, error_code: int
    ) -> None:
        """`method` in snake case, `protocol` grpc or http, code 0 for success."""
        ...


def correlation_id_from(value: str) -> str:
    """The caller's request id where it is fit for a log line, else a fresh one."""
    if 0 < len(value) <= _ID_LENGTH and _ID_CHARACTERS.issuperset(value):
        return value
    return f"{random.getrandbits(64):016x}"
