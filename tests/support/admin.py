"""The services of operators over a queue and a registry in memory."""

from __future__ import annotations

from tests.support.jobs import make_payload, make_send_job
from tests.support.lost_sends import LostSends
from tests.support.memory_queue import MemoryJobQueue
from tests.support.memory_registry import MemoryAudit

from tocsin.admin.actor import Actor
from tocsin.admin.audit import AuditTrail
from tocsin.admin.credentials import CredentialName, CredentialService
from tocsin.admin.dead_letters import DeadLetterService
from tocsin.admin.letter_search import LetterSearch
from tocsin.admin.mending import MendChecks
from tocsin.admin.sends import SendsService
from tocsin.core.clock import SystemClock
from tocsin.core.ports.audit import AuditStore
from tocsin.core.ports.breakers import BreakerStore
from tocsin.core.push import Job, Payload


def make_sends(
    rig: LostSends, breakers: BreakerStore | None = None, *, log: bool = True
) -> SendsService:
    """The service for sends; its only credential is that of FCM."""
    audit = AuditTrail(MemoryAudit(), clock=rig.clock)
    return SendsService(
        rig.log if log else None,
        rig.queue.accounts,
        search=LetterSearch(rig.queue),
        credentials=CredentialService(
            breakers,
            [CredentialName("fcm", "fcm", "d1")],
            clock=rig.clock,
            backlog=rig.queue,
            audit=audit,
        ),
        breakers=breakers,
        clock=rig.clock,
    )


ACTOR = Actor("admin.key", "192.0.2.7", "http")


def make_letters(
    queue: MemoryJobQueue | None, audit: AuditStore | None = None
) -> DeadLetterService:
    """The service for dead letters of FCM and APNs."""
    return DeadLetterService(
        queue,
        audit=AuditTrail(audit or MemoryAudit(), clock=SystemClock()),
        mends=MendChecks(("fcm", "apns"), payload_size=2048),
    )


def bury(
    queue: MemoryJobQueue,
    reason: str,
    job: Job | None = None,
    *,
    payload: Payload | None = None,
    at_ms: int = 1000,
) -> str:
    """A dead letter of a send of its own; returns its id."""
    number = len(queue.data.letters) + 1
    job = job or make_send_job(push_id=f"push-{number}")
    queue.data.payloads[job.push_id] = payload or make_payload(job.push_id)
    queue.data.bury(job, reason, at_ms)
    queue.data.payloads.pop(job.push_id)
    return list(queue.data.letters.values())[-1][0].id
