"""API room: runs one command of whatever door, timed, logged and counted.

The only place where errors of a call end. It knows no transport and no spelling.
"""

from __future__ import annotations

import time
from typing import Any

import structlog

from tocsin.api.call import Call, CommandObserver, Services
from tocsin.api.methods.table import Command
from tocsin.core.errors import ApiError, InternalError, NotAvailable

_log = structlog.get_logger(__name__)


class CommandRunner:
    """Runs commands for one door; `protocol` is its label in metrics and logs."""

    def __init__(
        self, services: Services, observer: CommandObserver | None, *, protocol: str
    ) -> None:
        self._services = services
        self._observer = observer
        self._protocol = protocol

    async def run(
        self, command: Command, request: Any, result: Any, call: Call
    ) -> ApiError | None:
        """Fill `result`, or return why not; after an error its content is void."""
        started = time.perf_counter()
        error: ApiError | None = None
        cause: Exception | None = None
        try:
            if command.method is None:
                error = NotAvailable(command.name)
            else:
                await command.method(self._services, request, result, call)
        except ApiError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 - the border of a call
            error, cause = InternalError(), raised
        self.note(command.name, call, time.perf_counter() - started, error, cause)
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
            self._log_failure(name, call.correlation_id, error, cause)

    def _log_failure(
        self, name: str, correlation_id: str, error: ApiError, cause: Exception | None
    ) -> None:
        """What the caller did wrong is worth an info only."""
        write = _log.error if error.code == InternalError.code else _log.info
        reason = error.reason if isinstance(error, InternalError) else ""
        more = {"reason": reason} if reason else {}
        write(
            "call failed",
            method=name,
            protocol=self._protocol,
            code=error.code,
            error=error.message,
            request_id=correlation_id,
            exc_info=cause,
            **more,
        )
