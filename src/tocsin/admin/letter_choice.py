"""Which dead letters an operator means, checked. Part of `admin`: pure, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tocsin.core.dead_letters import LetterFilter, Mend
from tocsin.core.errors import BadRequest
from tocsin.core.push_services import SERVICES
from tocsin.push import checks

MAX_IDS = 1000
_LISTS = ("reasons", "integrations", "push_ids", "uids")
_VALUE_LENGTH = 1024


EVERY_LETTER = LetterFilter()


@dataclass(frozen=True, slots=True)
class LetterChoice:
    """Letters to change: some ids, those that fit a filter, or all.

    `limit` and `cursor` are for a filter and for all; 0 means 10,000, which are the
    most.
    """

    ids: Sequence[str] = ()
    filter: LetterFilter = EVERY_LETTER
    all: bool = False
    cursor: str = ""
    limit: int = 0

    def check(self) -> None:
        """Raises `BadRequest` unless it says in exactly one way what is meant."""
        if bool(self.ids) + (not self.filter.is_empty) + self.all != 1:
            raise BadRequest("ids", "give ids, a filter, or all: one of them")
        if len(self.ids) > MAX_IDS:
            raise BadRequest("ids", f"must be at most {MAX_IDS}, are {len(self.ids)}")
        checks.check_texts("ids", self.ids, _VALUE_LENGTH)
        if self.ids and (self.cursor or self.limit):
            field = "cursor" if self.cursor else "limit"
            raise BadRequest(field, "goes with a filter or all, not with ids")
        check_filter(self.filter)
        check_limit(self.limit)

    def narrowed(self, mend: Mend) -> LetterChoice:
        """Only letters of the provider that the other body is for."""
        chosen = self.filter
        if self.ids:
            return self
        if chosen.providers and tuple(chosen.providers) != (mend.provider,):
            words = f"must be {mend.provider} alone, as body.provider is, or empty"
            raise BadRequest("filter.providers", words)
        return replace(self, filter=replace(chosen, providers=(mend.provider,)))

    def describe(self) -> dict[str, str | int | bool | Sequence[str]]:
        """By the names of the fields, for the audit log."""
        chosen = self.filter
        lists = {name: getattr(chosen, name) for name in ("providers", *_LISTS)}
        return {
            "ids": self.ids,
            **lists,
            "since_ms": chosen.since_ms,
            "until_ms": chosen.until_ms,
            "all": self.all,
            "cursor": self.cursor,
        }


def check_filter(chosen: LetterFilter) -> None:
    """Raises `BadRequest` naming the field of `filter`."""
    checks.check_choices("filter.providers", chosen.providers, SERVICES)
    for name in _LISTS:
        checks.check_texts(f"filter.{name}", getattr(chosen, name), _VALUE_LENGTH)
    for name in ("since_ms", "until_ms"):
        if getattr(chosen, name) < 0:
            raise BadRequest(f"filter.{name}", "must not be negative")


def check_limit(limit: int) -> None:
    """Raises `BadRequest` for a negative one."""
    if limit < 0:
        raise BadRequest("limit", "must not be negative")
