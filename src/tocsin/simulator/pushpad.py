"""Pushpad's create-notification call.

It decides answers only. `dead`, `badtoken` and `badfield` are users without a
subscription: the answer leaves them out; other words fail the request by its status.
"""

from __future__ import annotations

import itertools
from typing import Any

import orjson

from tocsin.simulator.batches import PlainService
from tocsin.simulator.exchange import Reply, Request, json_reply
from tocsin.simulator.imitation import Place

AUTH_TOKEN = "simulated-pushpad-token"
PROJECT_ID = "4711"

EVERYBODY = "(everybody)"
"""What the ledger calls a notification that named no users: a broadcast."""
_PATH = f"/api/v1/projects/{PROJECT_ID}/notifications"
_numbers = itertools.count(196_000)


class Pushpad(PlainService):
    """`/api/v1/projects/<id>/notifications`."""

    def settings(self, place: Place) -> dict[str, Any]:
        """See `Imitation`."""
        return {
            "auth_token": AUTH_TOKEN,
            "project_id": PROJECT_ID,
            **place.keys,
        }

    def facts(self, place: Place) -> tuple[tuple[str, str], ...]:  # noqa: ARG002 - the port's
        """See `Imitation`."""
        return (
            ("Pushpad project id", PROJECT_ID),
            ("Pushpad auth token", AUTH_TOKEN),
        )

    def words(self, _status: int, text: str, /) -> Any:
        """One text."""
        return {"error": text}

    def answer(self, request: Request) -> Reply | None:
        """The reply, or `None` where the path is not one of Pushpad's."""
        if request.path != _PATH:
            return None
        if request.headers.get("authorization") != f'Token token="{AUTH_TOKEN}"':
            return self.refuse(401, "Unauthorized", "unauthenticated")
        try:
            body = orjson.loads(request.body)
        except ValueError:
            return self.refuse(400, "Bad request")
        if not isinstance(body, dict) or "notification" not in body:
            return self.refuse(422, "notification: can't be blank")
        uids = body.get("uids", [EVERYBODY])
        if not isinstance(uids, list):
            return self.refuse(422, "uids: must be an array")
        return self.settle(uids, _accept)


def _accept(good: list[str], _dead: list[str]) -> Reply:
    answer = {"id": next(_numbers), "scheduled": len(good), "uids": good}
    return json_reply(201, answer)
