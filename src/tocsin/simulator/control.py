"""The simulator's control endpoint: ask what happened, say what shall go wrong.

Paths under `/control/`; it belongs to the simulator, no push service has it.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from typing import Any

import orjson

from tocsin.simulator.exchange import Reply, Request, json_reply
from tocsin.simulator.faults import FaultPlan, WrongFault
from tocsin.simulator.ledger import Ledger

_PAGE = 1000
_PAGE_LIMIT = 10_000


class Control:
    """`stats`, `delivered`, `faults`, `reset`."""

    def __init__(
        self,
        ledger: Ledger,
        faults: FaultPlan,
        *,
        expire_access_tokens: Callable[[], int],
        faults_changed: Callable[[], None],
        reset_faults: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._faults = faults
        self._expire_access_tokens = expire_access_tokens
        self._faults_changed = faults_changed
        self._reset_faults = reset_faults

    def answer(self, request: Request) -> Reply | None:
        """The reply, or `None` where the path is not ours."""
        match (request.method, request.path):
            case ("GET", "/control/stats"):
                return json_reply(200, self._ledger.stats())
            case ("GET", "/control/delivered"):
                return self._delivered(request.query)
            case ("POST", "/control/faults"):
                return self._change_faults(request.body)
            case ("POST", "/control/reset"):
                self._ledger.clear()
                self._reset_faults()
                return json_reply(200, {})
        return None

    def _delivered(self, query: str) -> Reply:
        """`?offset=0&limit=1000&at_least=2&token=…`; `token` asks for one target."""
        wish = dict(urllib.parse.parse_qsl(query))
        if "token" in wish:
            count = self._ledger.delivered.get(wish["token"], 0)
            return json_reply(200, {"delivered": [[wish["token"], count]]})
        try:
            offset = max(0, int(wish.get("offset", 0)))
            limit = min(_PAGE_LIMIT, max(1, int(wish.get("limit", _PAGE))))
            at_least = int(wish.get("at_least", 1))
        except ValueError:
            return _refuse("offset, limit and at_least are whole numbers")
        page = self._ledger.page(offset, limit, at_least)
        return Reply(200, orjson.dumps(page))

    def _change_faults(self, body: bytes) -> Reply:
        """A body as `FaultPlan.change` takes it, and `expire_access_tokens`: true."""
        try:
            wish: Any = orjson.loads(body)
        except ValueError:
            return _refuse("JSON is needed")
        if not isinstance(wish, dict):
            return _refuse("a JSON object is needed")
        expire = wish.pop("expire_access_tokens", False)
        try:
            self._faults.change(wish)
        except WrongFault as wrong:
            return _refuse(str(wrong))
        expired = self._expire_access_tokens() if expire else 0
        self._faults_changed()
        return json_reply(200, {"expired_access_tokens": expired})


def _refuse(reason: str) -> Reply:
    return json_reply(400, {"error": reason})
