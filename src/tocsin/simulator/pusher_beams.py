"""Pusher Beams' publish to users.

It decides answers only. Beams does not report users that it does not know, so `dead`,
`badtoken` and `badfield` are accepted; other words fail the request by its status.
"""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Any

import orjson

from tocsin.simulator.batches import PlainService
from tocsin.simulator.exchange import Reply, Request, json_reply
from tocsin.simulator.imitation import Place

INSTANCE_ID = "8f9a6e22-2483-49aa-8552-125f1a4c5781"
SECRET_KEY = "simulated-beams-secret"

_PATH = f"/publish_api/v1/instances/{INSTANCE_ID}/publishes/users"
_USER_LIMIT = 1000
_USER_LENGTH = 164


class PusherBeams(PlainService):
    """`/publish_api/v1/instances/<id>/publishes/users`."""

    def settings(self, place: Place) -> dict[str, Any]:
        """See `Imitation`."""
        return {
            "instance_id": INSTANCE_ID,
            "secret_key": SECRET_KEY,
            **place.keys,
        }

    def facts(self, place: Place) -> tuple[tuple[str, str], ...]:  # noqa: ARG002 - the port's
        """See `Imitation`."""
        return (
            ("Beams instance id", INSTANCE_ID),
            ("Beams secret key", SECRET_KEY),
        )

    def words(self, status: int, text: str, /) -> Any:
        """A title and a description."""
        return {"error": HTTPStatus(status).phrase, "description": text}

    def answer(self, request: Request) -> Reply | None:
        """The reply, or `None` where the path is not one of Beams'."""
        if request.path != _PATH:
            return None
        if request.headers.get("authorization") != f"Bearer {SECRET_KEY}":
            return self.refuse(401, "Incorrect secret key", "unauthenticated")
        try:
            body = orjson.loads(request.body)
        except ValueError:
            return self.refuse(400, "Body could not be parsed as JSON")
        users = body.get("users") if isinstance(body, dict) else None
        if not isinstance(users, list) or not 0 < len(users) <= _USER_LIMIT:
            return self.refuse(422, f"`users` must hold up to {_USER_LIMIT} ids")
        if not all(isinstance(u, str) and 0 < len(u) <= _USER_LENGTH for u in users):
            return self.refuse(422, f"a user id has at most {_USER_LENGTH} characters")
        return self.settle(users, self._accept)

    def _accept(self, _good: list[str], dead: list[str]) -> Reply:
        for user in dead:
            self._ledger.deliver(user)
        return json_reply(200, {"publishId": f"pubid-{secrets.token_hex(12)}"})
