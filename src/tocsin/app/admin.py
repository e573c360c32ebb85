"""Builds the services of operators, for servers and commands alike."""

from __future__ import annotations

from contextlib import AsyncExitStack

from tocsin.admin.audit import AuditTrail
from tocsin.admin.credentials import CredentialService
from tocsin.admin.dead_letters import DeadLetterService
from tocsin.admin.mending import MendChecks
from tocsin.admin.removals import RemovalService
from tocsin.api.call import AdminServices
from tocsin.app.credentials import credential_names
from tocsin.app.resources import Resources, open_database
from tocsin.config import Config
from tocsin.core.clock import SystemClock


def build_admin(resources: Resources) -> AdminServices:
    """The services over what is open; a part that is missing answers 108."""
    push = resources.config.push_notifications
    audit = AuditTrail(resources.audit, clock=resources.clock)
    return AdminServices(
        dead_letters=DeadLetterService(
            resources.queue,
            audit=audit,
            breakers=resources.breakers,
            mends=MendChecks(
                push.active_providers, payload_size=push.limits.payload_size
            ),
        ),
        credentials=CredentialService(
            resources.breakers,
            credential_names(push),
            clock=resources.clock,
            backlog=resources.queue,
            audit=audit,
        ),
        removals=RemovalService(resources.devices, audit=audit),
        audit=audit,
    )


async def open_audit(config: Config, stack: AsyncExitStack) -> AuditTrail:
    """The audit log alone, for a command that opens nothing else of the registry."""
    database = await open_database(config, stack, as_it_is=True)
    if database is None:
        return AuditTrail(None, clock=SystemClock())
    from tocsin.storage.audit_log import SqlAuditStore

    return AuditTrail(SqlAuditStore(database), clock=SystemClock())
