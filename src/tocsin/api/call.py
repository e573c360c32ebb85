"""API room: runs one call, whichever door it came by, and logs and counts it.

Every error of a method is caught here. It knows no transport and no wire format.
"""

from __future__ import annotations

import random
import string
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from google.protobuf.message import Message

from tocsin.admin.actor import NOBODY, Actor
from tocsin.admin.audit import AuditTrail
from tocsin.admin.credentials import CredentialService
from tocsin.admin.dead_letters import DeadLetterService
from tocsin.admin.removals import RemovalService
from tocsin.admin.results import ResultService
from tocsin.admin.send_audit import SendAudit
from tocsin.admin.sends import SendsService
from tocsin.api.auth import Caller
from tocsin.channels.control import ControlService
from tocsin.channels.history import HistoryService
from tocsin.channels.presence import PresenceService
from tocsin.channels.publishing import Publisher
from tocsin.channels.survey import SurveyService
from tocsin.channels.users import DenialService, UserStatusService
from tocsin.core.errors import (
    ApiError,
    InternalError,
    NotAvailable,
    PermissionDenied,
    RateLimited,
)
from tocsin.push.devices import DeviceService
from tocsin.push.sending import SendService
from tocsin.push.status import StatusService
from tocsin.push.topics import TopicService

_ID_LENGTH = 128
_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-_.:/+=@")

_RESULTS: Mapping[type[ApiError | None], str] = {
    PermissionDenied: "denied",
    RateLimited: "limited",
}

_log = structlog.get_logger(__name__)


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
class AdminServices:
    """The services of operators."""

    dead_letters: DeadLetterService
    credentials: CredentialService
    removals: RemovalService
    sends: SendsService
    send_audit: SendAudit
    audit: AuditTrail
    results: ResultService


@dataclass(frozen=True, slots=True)
class Services:
    """The services that the methods call; `realtime` is `None` without channels.

    Methods of `AdminApi` use `operators`.
    """

    devices: DeviceService
    topics: TopicService
    sends: SendService
    statuses: StatusService = field(default_factory=StatusService)
    realtime: ChannelServices | None = None
    admin: AdminServices | None = None

    @property
    def operators(self) -> AdminServices:
        """The services of operators; raises `NotAvailable` in a process without."""
        if self.admin is None:
            raise NotAvailable("this process has no services for operators")
        return self.admin

    @property
    def channels(self) -> ChannelServices:
        """The services of channels; raises `NotAvailable` in a process without them."""
        if self.realtime is None:
            raise NotAvailable("this process has no channels")
        return self.realtime


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `correlation_id` ties its log lines and jobs together.

    `actor` is known for methods of `AdminApi` alone. `traceparent` is the context of
    the span that it is part of, empty while tracing is off.
    """

    correlation_id: str
    caller: Caller
    actor: Actor = NOBODY
    traceparent: str = ""


Method = Callable[[Services, Any, Any, Call], Awaitable[None]]
"""Takes services, request message, the result message to fill, and the call."""

Stream = Callable[[Services, Any, Call], AsyncIterator[Any]]
"""Takes services, request message and the call; yields response messages."""


@dataclass(frozen=True, slots=True)
class Command:
    """One RPC: its names, its message types and the method that runs it.

    `name` is the RPC's in snake case: the HTTP route, the field of a batch and the
    label of metrics. `right` is what a key must be allowed to call it.
    """

    rpc: str
    name: str
    right: str
    request_class: type[Message]
    response_class: type[Any]
    result_class: type[Message]
    method: Method


class CallTrace(Protocol):
    """The span of a call under way."""

    @property
    def call(self) -> Call:
        """The call, with the span's own context."""
        ...

    def end(self, error: ApiError | None) -> None:
        """The call ended so."""
        ...


class Tracing(Protocol):
    """Traces the calls of a door."""

    def trace(self, command: Command, call: Call) -> AbstractContextManager[CallTrace]:
        """A span that lasts as long as the block."""
        ...


class CommandObserver(Protocol):
    """Is told of every call that passed the key check; must not block."""

    def observe_command(
        self, method: str, protocol: str, seconds: float, error_code: int
    ) -> None:
        """`method` in snake case, `protocol` grpc or http, code 0 for success."""
        ...

    def observe_key(self, name: str, protocol: str, result: str) -> None:
        """A call came with this named key: it was `admitted`, `denied` or `limited`."""
        ...


def correlation_id_from(value: str) -> str:
    """The caller's request id if it may stand in a log line, else a random one."""
    if 0 < len(value) <= _ID_LENGTH and _ID_CHARACTERS.issuperset(value):
        return value
    return f"{random.getrandbits(64):016x}"


class CommandRunner:
    """Runs commands for one door; `protocol` is its label in metrics and logs."""

    def __init__(
        self,
        services: Services,
        observer: CommandObserver | None,
        *,
        protocol: str,
        tracing: Tracing | None = None,
    ) -> None:
        self._services = services
        self._observer = observer
        self._protocol = protocol
        self._tracing = tracing

    @property
    def is_traced(self) -> bool:
        """Whether the context of whoever calls is of use."""
        return self._tracing is not None

    def run(
        self, command: Command, request: Any, result: Any, call: Call
    ) -> Awaitable[ApiError | None]:
        """Fill `result`, or return the error; then `result` may be half filled."""
        if self._tracing is None:
            return self._run(command, request, result, call)
        return self._run_traced(self._tracing, command, request, result, call)

    async def _run_traced(
        self, tracing: Tracing, command: Command, request: Any, result: Any, call: Call
    ) -> ApiError | None:
        with tracing.trace(command, call) as span:
            error = await self._run(command, request, result, span.call)
            span.end(error)
            return error

    async def _run(
        self, command: Command, request: Any, result: Any, call: Call
    ) -> ApiError | None:
        started = time.perf_counter()
        error = self.admit(command.right, call)
        cause: Exception | None = None
        try:
            if error is None:
                await command.method(self._services, request, result, call)
        except ApiError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 - the border of a call
            error, cause = InternalError(), raised
        self.note(command.name, call, time.perf_counter() - started, error, cause)
        return error

    def admit(self, right: str, call: Call) -> ApiError | None:
        """Why the caller may not call this method now, if so; each one counts."""
        caller = call.caller
        error = caller.admit(right)
        if caller.name and self._observer is not None:
            result = _RESULTS.get(type(error), "admitted")
            self._observer.observe_key(caller.name, self._protocol, result)
        return error

    def note(
        self,
        name: str,
        call: Call,
        seconds: float,
        error: ApiError | None,
        cause: Exception | None = None,
    ) -> None:
        """Count a call that ended, and write its line if it failed."""
        if self._observer is not None:
            self._observer.observe_command(
                name, self._protocol, seconds, 0 if error is None else error.code
            )
        if error is not None:
            self._log_failure(name, call, error, cause)

    def _log_failure(
        self, name: str, call: Call, error: ApiError, cause: Exception | None
    ) -> None:
        """An error of this server is logged as such, one of the caller as info."""
        write = _log.error if error.code == InternalError.code else _log.info
        reason = error.reason if isinstance(error, InternalError) else ""
        more = {"reason": reason} if reason else {}
        if call.caller.name:
            more["caller"] = call.caller.name
        write(
            "call failed",
            method=name,
            protocol=self._protocol,
            code=error.code,
            error=error.message,
            request_id=call.correlation_id,
            exc_info=cause,
            **more,
        )
