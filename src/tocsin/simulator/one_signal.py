"""OneSignal's create-notification call in both forms, by subscription and external id.

It decides answers only. `dead`, `badtoken` and `badfield` make one id unknown, which
a 200 says in `errors`; other words fail the request by its status, and `mismatch` is
an unknown application.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from tocsin.simulator.batches import PlainService
from tocsin.simulator.exchange import Reply, Request, json_reply
from tocsin.simulator.imitation import Place

APP_ID = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f0"
API_KEY = "simulated-one-signal-key"

_PATHS = ("/api/v1/notifications", "/notifications")
_KEYS = frozenset({f"Basic {API_KEY}", f"Key {API_KEY}"})
_AIMS = ("include_player_ids", "include_subscription_ids", "include_aliases")
_ID_LIMIT = 2000
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class OneSignal(PlainService):
    """`/api/v1/notifications` and `/notifications`."""

    def settings(self, place: Place) -> dict[str, Any]:
        """See `Imitation`."""
        return {"app_id": APP_ID, "api_key": API_KEY, **place.keys}

    def facts(self, place: Place) -> tuple[tuple[str, str], ...]:  # noqa: ARG002 - the port's
        """See `Imitation`."""
        return (("OneSignal app id", APP_ID), ("OneSignal API key", API_KEY))

    def words(self, _status: int, text: str, /) -> Any:
        """A list of texts, whatever the status."""
        return {"errors": [text]}

    def answer(self, request: Request) -> Reply | None:
        """The reply, or `None` where the path is not one of OneSignal's."""
        if request.path not in _PATHS:
            return None
        if request.headers.get("authorization") not in _KEYS:
            text = "Access denied. Please include an 'Authorization: ...' header"
            return self.refuse(403, text, "unauthenticated")
        try:
            body = orjson.loads(request.body)
        except ValueError:
            return self.refuse(400, "Malformed JSON")
        if request.method != "POST" or not isinstance(body, dict):
            return self.refuse(400, "A JSON object must be posted")
        if body.get("app_id") != APP_ID:
            return self.refuse(400, "app_id not found. You may be missing a header")
        return self._send(body)

    def _send(self, body: Mapping[str, Any]) -> Reply:
        given = [name for name in _AIMS if name in body]
        if len(given) != 1 or "included_segments" in body or "filters" in body:
            return self.refuse(400, "Exactly one kind of targeting is needed")
        kind, ids = given[0], body[given[0]]
        by_alias = kind == "include_aliases"
        if by_alias:
            ids = ids.get("external_id") if isinstance(ids, dict) else None
            if body.get("target_channel") != "push":
                return self.refuse(400, "target_channel is needed")
        if not isinstance(ids, list) or not 0 < len(ids) <= _ID_LIMIT:
            return self.refuse(400, f"{kind} must be a list of up to {_ID_LIMIT} ids")
        bad = next((id for id in ids if not (by_alias or _UUID.fullmatch(id))), None)
        if bad is not None:
            return self.refuse(400, f"Incorrect player_id format in {kind}: {bad}")
        return self.settle(
            ids, lambda good, dead: _reply(good, dead, by_alias=by_alias)
        )


def _reply(good: list[str], dead: list[str], *, by_alias: bool) -> Reply:
    answer: dict[str, Any] = {"id": str(uuid.uuid4()) if good else ""}
    if dead and by_alias:
        answer["errors"] = {"invalid_aliases": {"external_id": dead}}
    elif dead:
        answer["errors"] = {"invalid_player_ids": dead}
    return json_reply(200, answer)
