"""An operator's push webhook: it checks the signature and counts the targets.

It decides answers only; `dead`, `badtoken` and `badfield` are answered 410, other
words as their HTTP status.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

import orjson

from tocsin.simulator.batches import PlainService
from tocsin.simulator.exchange import Reply, Request, json_reply
from tocsin.simulator.imitation import Place

PATH = "/push-webhook"
SECRET = "simulated-webhook-secret"


class PushWebhook(PlainService):
    """`POST /push-webhook`."""

    def settings(self, place: Place) -> dict[str, Any]:
        """See `Imitation`."""
        return {
            "url": place.origin + PATH,
            "secret": SECRET,
            "ca_file": place.ca_file,
        }

    def facts(self, place: Place) -> tuple[tuple[str, str], ...]:
        """See `Imitation`."""
        return (
            ("webhook url", place.origin + PATH),
            ("webhook secret", SECRET),
        )

    def words(self, _status: int, text: str, /) -> Any:
        """What a plain service would say."""
        return {"message": text}

    def answer(self, request: Request) -> Reply | None:
        """The reply, or `None` where the path is another one."""
        if request.path != PATH:
            return None
        expected = hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
        given = request.headers.get("x-novu-signature", "")
        if not hmac.compare_digest(given.encode(), expected.encode()):
            return self.refuse(401, "the signature is wrong", "unauthenticated")
        try:
            body = orjson.loads(request.body)
        except ValueError:
            return self.refuse(400, "no JSON")
        targets = body.get("target") if isinstance(body, dict) else None
        if not isinstance(targets, list) or not targets:
            return self.refuse(400, "target must be a list")
        return self.settle(targets, self._accept)

    def _accept(self, good: list[str], dead: list[str]) -> Reply:
        if dead:
            return json_reply(410, self.words(410, f"unknown: {dead[0]}"))
        return json_reply(200, {"id": secrets.token_hex(8), "count": len(good)})
