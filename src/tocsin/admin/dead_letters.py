"""Dead letters: which there are, and what an operator does with them. Part of `admin`.

It looks through them page by page, so that any number of them takes little memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from tocsin.admin.actor import Actor
from tocsin.admin.audit import AuditTrail, Changes, Subject
from tocsin.admin.halts import lift_halts
from tocsin.admin.letter_choice import LetterChoice, check_filter, check_limit
from tocsin.admin.letter_search import LetterPage, LetterSearch
from tocsin.admin.mending import MendChecks
from tocsin.core.dead_letters import LetterFilter, LetterHead, Mend, head_of
from tocsin.core.errors import BadRequest, NotFound
from tocsin.core.ports.breakers import BreakerStore
from tocsin.core.ports.queue import JobOperator
from tocsin.core.push import Body, DeadLetter, Payload

MAX_SCANNED = 20_000
"""Letters that one listing looks at; the answer says where to go on."""
MAX_PAGE = 1000
DEFAULT_PAGE = 100
TOGETHER = 100
"""Letters that the queue changes in one call."""


@dataclass(slots=True)
class LetterGroup:
    """Letters of one reason and credential; `example_id` is the oldest of them."""

    reason: str
    provider: str
    integration: str
    example_id: str
    first_ms: int
    last_ms: int
    letters: int = 0
    recipients: int = 0

    def add(self, head: LetterHead) -> None:
        """Count one letter."""
        self.letters += 1
        self.recipients += head.recipients
        self.first_ms = min(self.first_ms, head.at_ms)
        self.last_ms = max(self.last_ms, head.at_ms)


@dataclass(frozen=True, slots=True)
class LetterView:
    """A whole letter. `body` is there if it was asked for and can be read."""

    head: LetterHead
    letter: DeadLetter
    body: Body | None = None


@dataclass(slots=True)
class LettersChanged:
    """How many letters were changed, of how many that were meant.

    `unknown_ids` are those of the choice that no letter has. With a `next_cursor` there
    may be more that fit.
    """

    changed: int = 0
    matched: int = 0
    unknown_ids: Sequence[str] = ()
    next_cursor: str = ""


class DeadLetterService:
    """The dead letters of one queue; `queue` is `None` where push is off.

    A replay lifts the halts in `breakers`, so that a stopped send is tried at once.
    """

    def __init__(
        self,
        queue: JobOperator | None,
        *,
        audit: AuditTrail,
        mends: MendChecks,
        breakers: BreakerStore | None = None,
    ) -> None:
        self._breakers = breakers
        self._search = LetterSearch(queue)
        self._audit = audit
        self._mends = mends

    async def groups(self, chosen: LetterFilter) -> list[LetterGroup]:
        """Letters that fit by reason and credential, the largest group first."""
        check_filter(chosen)
        found: dict[tuple[str, str, str], LetterGroup] = {}
        async for head in self._search.all():
            if chosen.fits(head):
                _count_in(found, head)
        return _largest_first(found)

    async def page(
        self, chosen: LetterFilter, *, cursor: str = "", limit: int = 0
    ) -> LetterPage:
        """Letters that fit, oldest first, after the cursor.

        `limit` 0 is 100, above 1,000 it is 1,000. A page ends early where many letters
        did not fit; then it has a cursor all the same.
        """
        check_filter(chosen)
        check_limit(limit)
        wanted = min(limit or DEFAULT_PAGE, MAX_PAGE)
        return await self._search.page(
            chosen, cursor, limit=wanted, look_at=MAX_SCANNED
        )

    async def look(
        self, id: str, *, actor: Actor, with_body: bool = False
    ) -> LetterView:
        """One whole letter; whoever asks for the body is in the audit log.

        Raises `NotFound`.
        """
        if not with_body:
            letter, _ = await self._fetch(id)
            return LetterView(head_of(letter), letter)
        subject: Subject = {"ids": [id], "with_body": True}
        async with self._audit.entry(actor, "get_dead_letter", subject):
            letter, payload = await self._fetch(id)
        body = letter.job.body
        if body is None and payload is not None:
            body = payload.bodies.get(letter.job.provider)
        return LetterView(head_of(letter), letter, body)

    async def replay(
        self,
        choice: LetterChoice,
        *,
        actor: Actor,
        mend: Mend | None = None,
        whole: bool = False,
    ) -> LettersChanged:
        """Put letters back to work, with another body if one is given.

        With `whole` it goes on behind the limit, to what was the last letter when it
        began. Raises `BadRequest` naming the field for a body that cannot be, or that
        is not for all ids; nothing was changed then. Letters that another operator was
        faster with are not counted, nor those that cannot be mended.
        """
        choice.check()
        if mend is not None:
            self._mends.check(mend)
            choice = choice.narrowed(mend)
        subject = {**choice.describe(), "with_body": mend is not None}
        async with self._audit.entry(actor, "replay_dead_letters", subject) as outcome:
            if mend is not None:
                mend = await self._check_each_send(mend, choice, whole=whole)

            if self._breakers is not None:
                await lift_halts(self._breakers)

            async def replay(ids: Sequence[str]) -> int:
                return await self._search.queue.replay_dead(ids, mend=mend)

            return await self._change(choice, replay, outcome, whole=whole)

    async def purge(
        self, choice: LetterChoice, *, actor: Actor, whole: bool = False
    ) -> LettersChanged:
        """Forget letters for good; `whole` as in `replay`."""
        choice.check()
        subject = choice.describe()
        async with self._audit.entry(actor, "purge_dead_letters", subject) as outcome:
            purge = self._search.queue.purge_dead
            return await self._change(choice, purge, outcome, whole=whole)

    async def _change(
        self,
        choice: LetterChoice,
        change: Callable[[Sequence[str]], Awaitable[int]],
        outcome: Changes,
        *,
        whole: bool,
    ) -> LettersChanged:
        done = LettersChanged()
        async for page in self._search.pages(choice, whole=whole):
            ids = [head.id for head in page.items]
            done.matched += len(ids)
            for start in range(0, len(ids), TOGETHER):
                outcome.count += await change(ids[start : start + TOGETHER])
            done.next_cursor = page.next_cursor
            if choice.ids:
                known = set(ids)
                given = dict.fromkeys(choice.ids)
                done.unknown_ids = [id for id in given if id not in known]
        done.changed = outcome.count
        return done

    async def _check_each_send(
        self, mend: Mend, choice: LetterChoice, *, whole: bool
    ) -> Mend:
        """The mend with what its templates use; one letter of each send is asked."""
        seen = set()
        async for page in self._search.pages(choice, whole=whole):
            for head in page.items:
                if choice.ids and head.provider != mend.provider:
                    place = f"ids[{list(choice.ids).index(head.id)}]"
                    words = f"is a letter of {head.provider}, not of {mend.provider}"
                    raise BadRequest(place, words)
                if head.push_id in seen:
                    continue
                seen.add(head.push_id)
                found = await self._search.queue.fetch_dead(head.id)
                if found is not None:
                    mend = self._mends.check_for(mend, *found)
        return mend

    async def _fetch(self, id: str) -> tuple[DeadLetter, Payload | None]:
        if not id:
            raise BadRequest("id", "must not be empty")
        found = await self._search.queue.fetch_dead(id)
        if found is None:
            raise NotFound(f"id: no dead letter has it: {id[:64]!a}")
        return found


def group_letters(heads: Iterable[LetterHead]) -> list[LetterGroup]:
    """These letters by reason and credential, the largest group first."""
    found: dict[tuple[str, str, str], LetterGroup] = {}
    for head in heads:
        _count_in(found, head)
    return _largest_first(found)


def _count_in(found: dict[tuple[str, str, str], LetterGroup], head: LetterHead) -> None:
    key = (head.group, head.provider, head.credential)
    if key not in found:
        found[key] = LetterGroup(*key, head.id, head.at_ms, head.at_ms)
    found[key].add(head)


def _largest_first(
    found: dict[tuple[str, str, str], LetterGroup],
) -> list[LetterGroup]:
    return sorted(found.values(), key=lambda group: -group.letters)
