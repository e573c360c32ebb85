"""Builds the services of operators, for servers and commands alike."""

from __future__ import annotations

from contextlib import AsyncExitStack

from tocsin.admin.audit import AuditTrail
from tocsin.admin.credentials import CredentialService
from tocsin.admin.dead_letters import DeadLetterService
from tocsin.admin.letter_search import LetterSearch
from tocsin.admin.mending import MendChecks
from tocsin.admin.removals import RemovalService
from tocsin.admin.results import ResultService
from tocsin.admin.send_audit import SendAudit
from tocsin.admin.sends import SendsService
from tocsin.api.call import AdminServices
from tocsin.app.credentials import credential_names
from tocsin.app.resources import Resources, open_database
from tocsin.config import Config
from tocsin.core.clock import SystemClock
from tocsin.core.ports.send_log import SendLog


def build_admin(resources: Resources) -> AdminServices:
    """The services over what is open; a part that is missing answers 108."""
    push = resources.config.push_notifications
    audit = AuditTrail(resources.audit, clock=resources.clock)
    credentials = CredentialService(
        resources.breakers,
        credential_names(push),
        clock=resources.clock,
        backlog=resources.queue,
        audit=audit,
    )
    accounts = None if resources.queue is None else resources.queue.accounts
    sends = SendsService(
        _send_log(resources),
        accounts,
        search=LetterSearch(resources.queue),
        credentials=credentials,
        breakers=resources.breakers,
        clock=resources.clock,
    )
    return AdminServices(
        dead_letters=DeadLetterService(
            resources.queue,
            audit=audit,
            breakers=resources.breakers,
            mends=MendChecks(
                push.active_providers, payload_size=push.limits.payload_size
            ),
        ),
        credentials=credentials,
        sends=sends,
        send_audit=SendAudit(
            sends,
            accounts,
            clock=resources.clock,
            repairs=push.send_log.repair == "resume",
            wait_ms=int(push.retry.max_wait * 1000),
        ),
        removals=RemovalService(resources.devices, audit=audit),
        audit=audit,
        results=_build_results(resources),
    )


def _send_log(resources: Resources) -> SendLog | None:
    """The log of a process that keeps it, or of a command that looks into it."""
    if resources.send_log is not None or resources.database is None:
        return resources.send_log
    from tocsin.storage.send_log import SqlSendLog

    return SqlSendLog(resources.database, clock=resources.clock)


def _build_results(resources: Resources) -> ResultService:
    service = ResultService(resources.results)
    if resources.results is not None and service.feed is not None:
        resources.results.listeners.append(service.feed.wake)
    return service


async def open_audit(config: Config, stack: AsyncExitStack) -> AuditTrail:
    """The audit log alone, for a command that opens nothing else of the registry."""
    database = await open_database(config, stack, as_it_is=True)
    if database is None:
        return AuditTrail(None, clock=SystemClock())
    from tocsin.storage.audit_log import SqlAuditStore

    return AuditTrail(SqlAuditStore(database), clock=SystemClock())
