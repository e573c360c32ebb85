"""A push service that is no part of the program, declared in this one file.

Run as `python -m tests.support.pigeon_service VERB ...`: the command line with it.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator
from typing import Any

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, PushProvider, Report
from tocsin.core.push_services import (
    SERVICES,
    BodyField,
    PushService,
    RawField,
    Setup,
)
from tocsin.core.tokens import Tokens

_RING = re.compile(r"[A-Z]{2}-[0-9]{4}")


def read_ring(text: str) -> str:
    """The number on a pigeon's ring, in capitals."""
    if not _RING.fullmatch(ring := text.strip().upper()):
        raise ValueError("is no number of a ring, such as NL-1234")
    return ring


class PigeonService(PushService):
    """Carries a note to whoever wears the ring.

    The schema has no body for it, so it takes the fields of a service that this
    program then goes without.
    """

    name = "carrier-pigeon"
    title = "Pigeon Post"
    id_letter = "g"
    tokens = Tokens(read_ring, is_marked=lambda text: text.startswith("NL-"))
    body = BodyField("push_webhook")
    raw_targets = (RawField("push_webhook_targets"),)
    first_retry_s = 0.5

    @functools.cache  # noqa: B019 - one object, as long as the process
    def settings(self) -> type[Any]:
        from pydantic import SecretStr

        from tocsin.config.fields import FilePath, Secret
        from tocsin.config.origins import Origin
        from tocsin.config.service_section import ServiceSection

        class PigeonSection(ServiceSection):
            """Pigeon post."""

            NEEDED = ("seal",)

            seal: Secret = SecretStr("")
            """pressed into every note"""
            endpoint: Origin = "https://loft.example"
            """origin only; the path is appended"""
            ca_file: FilePath = ""
            """PEM file added to the system's roots"""

        return PigeonSection

    def build(self, settings: Any, setup: Setup) -> PushProvider:
        return PigeonProvider(settings, setup.integration)

    async def imitate(self, place: Any) -> Any:
        from tocsin.simulator.exchange import Reply, Request, json_reply
        from tocsin.simulator.imitation import Imitation, Place

        class Loft(Imitation):
            def answer(self, request: Request) -> Reply | None:
                ring = request.path.removeprefix("/loft/")
                if ring == request.path:
                    return None
                if request.headers.get("x-seal") != "wax":
                    return json_reply(403, {})
                if ring.startswith("XX"):
                    return json_reply(410, {})
                place.ledger.deliver(f"{ring} {request.body.decode()}")
                return json_reply(200, {})

            def settings(self, place: Place) -> dict[str, Any]:
                return {"seal": "wax", **place.keys}

            def facts(self, place: Place) -> tuple[tuple[str, str], ...]:
                return (("seal of pigeons", "wax"),)

        return Loft()


class PigeonProvider:
    """One note a pigeon."""

    name = PigeonService.name

    def __init__(self, settings: Any, integration: str) -> None:
        from tocsin.providers.http1 import Http1Client

        self.integration = integration
        self.batch_size = settings.batch_size
        self._loft = f"{settings.endpoint}/loft/"
        self._headers = {"x-seal": settings.seal.get_secret_value()}
        section = f"push_notifications.{PigeonService().section}"
        self._http = Http1Client(section=section, ca_file=settings.ca_file)

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        for index in batch.pending:
            if not (pace.ready() or await pace.wait()):
                return
            body = batch.body if batch.bodies is None else batch.bodies[index]
            url = self._loft + batch.targets[index]
            answer = await self._http.post(url, body.message, self._headers)
            gone = Outcome(Verdict.UNREGISTERED, "lost_ring")
            report(index, gone if answer.status == 410 else Outcome(Verdict.DELIVERED))

    async def close(self) -> None:
        await self._http.close()


def declare() -> Iterator[PushService]:
    """The program's services, but for the one whose fields the pigeons take."""
    from tocsin.app.push_services import PUSH_SERVICES

    pigeons = PigeonService()
    for service in PUSH_SERVICES:
        yield pigeons if service.body.name == pigeons.body.name else service


if __name__ == "__main__":
    SERVICES.declared_by(declare)
    from tocsin.cli.main import main

    sys.exit(main())
