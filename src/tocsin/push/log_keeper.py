"""Push room: keeps the send log true to the queue, one process at a time.

It writes down what the queue has counted, and has lost sends found and queued again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import structlog

from tocsin.core.accounts import Account
from tocsin.core.ports.clock import Clock
from tocsin.core.ports.queue import AccountReader
from tocsin.core.ports.send_log import SendLog
from tocsin.push.letter_keeper import LetterKeeper
from tocsin.push.repair import Repair

BATCH = 500
"""Accounts, or rows, that are read at once."""
UNSEEN_AFTER_MS = 10_000
"""An accepted send that the queue has not told of for so long is looked for there. Its
server may have died before it queued the work."""
UNSEEN_EVERY_MS = 3_000
COMPARE_EVERY_MS = 300_000
"""How often all open sends are compared with the queue without a reason. A loss that is
noticed is one, and so is a new keeper."""
PURGE_EVERY_MS = 60_000
PURGE_LIMIT = 1_000
PURGE_TURNS = 10
"""Batches of one look; where there are more, the next look goes on."""
REMEMBERED = 10_000
"""Sends at most whose fault was told already."""

_WENT_BACK = "its row came from a backup, and the queue had ended its work meanwhile"

_log = structlog.get_logger(__name__)


class SendLogKeeper:
    """Beside each server and worker; `look` is called every second, by one task.

    `keep_s` is how long sends that are over stay in the log, in seconds. `lost_at_ms`
    tells when the queue was last found to have lost data, `epoch` which data it has.
    `on_broken` is told each account that does not close, and why.
    """

    def __init__(
        self,
        log: SendLog,
        accounts: AccountReader,
        repair: Repair,
        *,
        owner: str,
        clock: Clock,
        lease_s: float = 15.0,
        keep_s: float = 7 * 86_400.0,
        lost_at_ms: Callable[[], int] = lambda: 0,
        epoch: Callable[[], str] = lambda: "",
        on_broken: Callable[[str, str], None] = lambda *_: None,
        letters: LetterKeeper | None = None,
    ) -> None:
        self._send_log = log
        self._accounts = accounts
        self._repair = repair
        self._owner = owner
        self._clock = clock
        self._lease_s = lease_s
        self._keep_s = keep_s
        self._lost_at_ms = lost_at_ms
        self._epoch = epoch
        self._on_broken = on_broken
        self._letters = letters
        self._fence: int | None = None
        self._held_at_ms = 0
        self._known_loss_ms = 0
        self._compared_at_ms = 0
        self._due: dict[str, int] = {}
        self._broken: set[str] = set()

    def has_lost(self) -> bool:
        """Whether a loss was found that has not been answered yet."""
        return self._lost_at_ms() > self._known_loss_ms

    @property
    def is_keeper(self) -> bool:
        """Whether this process keeps the log now."""
        return self._fence is not None

    async def look(self) -> None:
        """Do what is due; raises `ApiError` while a store is away."""
        if not await self._hold():
            return
        await self._compare_if_due()
        await self.write_down()
        if self._letters is not None:
            await self._letters.look()
        await self._if_due("unseen", UNSEEN_EVERY_MS, self._find_unseen)
        await self._if_due("purge", PURGE_EVERY_MS, self._purge)

    async def write_down(self) -> int:
        """Take over all accounts that changed; returns how many."""
        written = 0
        while self._fence is not None:
            changed = await self._accounts.changed(limit=BATCH)
            if not changed:
                break
            kept = {id: each for id, each in changed.items() if each.generation}
            if not await self._send_log.write_accounts(
                kept, fence=self._fence, epoch=self._epoch()
            ):
                # A later keeper has written, or a repair was planned: which of them
                # it was tells the next `hold`. What was read may be older than that.
                self._held_at_ms = 0
                break
            for push_id, account in kept.items():
                await self._judge(push_id, account)
            await self._accounts.acknowledge(changed, forget=True)
            written += len(kept)
            if len(changed) < BATCH:
                break
        return written

    async def compare(self) -> int:
        """Compare all open sends with the queue; returns how many were queued again."""
        repaired = 0
        async for push_ids in self._open_sends():
            repaired += await self._repair.look(push_ids)
        return repaired

    async def _hold(self) -> bool:
        now_ms = self._clock.now_ms()
        if self._fence is not None and now_ms - self._held_at_ms < self._lease_s * 300:
            return True
        was_keeper = self._fence is not None
        # Only when all of this went well it may compare: sends that ended after the
        # backup of a log look like lost ones.
        self._fence = None
        fence = await self._send_log.hold(self._owner, ttl_s=self._lease_s)
        if fence is not None:
            known = await self._accounts.note_keeper(fence)
            if known > fence:
                # Others have held the log since, if this process stood still between
                # the two calls: only a number that is given now can tell.
                fence = await self._send_log.hold(self._owner, ttl_s=self._lease_s)
            if fence is not None and known > fence:
                fence = await self._log_went_back(known)
        if fence is None:
            return False
        self._fence, self._held_at_ms = fence, now_ms
        if not was_keeper:
            # It knows nothing of what its predecessor has seen.
            self._compared_at_ms = 0
            self._broken.clear()
            if self._letters is not None:
                self._letters.forget()
        return True

    async def _log_went_back(self, known: int) -> int | None:
        """The log's database is older than the queue remembers it.

        What is open in it and not in the queue has ended since: the queue has lost
        nothing. It must not be sent again, and what became of it is not known. Returns
        the number to go on with, `None` if another process has the log meanwhile.
        """
        _log.error(
            "the send log went back (its database was restored from a backup): sends"
            " that ended since are closed as they stood, their open recipients count as"
            " unconfirmed",
            queue_knows=known,
        )
        async for push_ids in self._open_sends():
            missing = await self._repair.find_missing(push_ids)
            gone = [each.record.push_id for each in missing]
            await self._send_log.end_unknown(gone, note=_WENT_BACK)
        # Last: after a crash before this the next keeper does it again.
        await self._send_log.raise_fence(known)
        return await self._send_log.hold(self._owner, ttl_s=self._lease_s)

    async def _open_sends(self) -> AsyncIterator[list[str]]:
        after = ""
        while push_ids := await self._send_log.fetch_open(after=after, limit=BATCH):
            yield push_ids
            after = push_ids[-1]

    async def _compare_if_due(self) -> None:
        now_ms, lost_at_ms = self._clock.now_ms(), self._lost_at_ms()
        is_new_loss = self.has_lost()
        if not is_new_loss and now_ms - self._compared_at_ms < COMPARE_EVERY_MS:
            return
        if is_new_loss and self._letters is not None:
            await self._letters.restore()
        await self.compare()
        self._known_loss_ms, self._compared_at_ms = lost_at_ms, now_ms

    async def _find_unseen(self) -> None:
        before_ms = self._clock.now_ms() - UNSEEN_AFTER_MS
        unseen = await self._send_log.fetch_unseen(before_ms=before_ms, limit=BATCH)
        if unseen:
            await self._repair.look(unseen)

    async def _purge(self) -> None:
        before_ms = self._clock.now_ms() - int(self._keep_s * 1000)
        for _ in range(PURGE_TURNS):
            purged = await self._send_log.purge(before_ms=before_ms, limit=PURGE_LIMIT)
            if purged < PURGE_LIMIT:
                return
        del self._due["purge"]

    async def _if_due(
        self, what: str, every_ms: int, do: Callable[[], Awaitable[None]]
    ) -> None:
        now_ms = self._clock.now_ms()
        if now_ms - self._due.get(what, 0) >= every_ms:
            self._due[what] = now_ms
            await do()

    async def _judge(self, push_id: str, account: Account) -> None:
        """Say once of a send that its account does not close."""
        fault = account.find_fault()
        if fault:
            # What was replayed after the end is counted apart, and closes with the
            # rest alone.
            record = await self._send_log.fetch(push_id=push_id)
            fault = "" if record is None else record.account.find_fault()
        if not fault:
            self._broken.discard(push_id)
            return
        if push_id in self._broken:
            return
        if len(self._broken) < REMEMBERED:
            self._broken.add(push_id)
        self._on_broken(push_id, fault)
        _log.error(
            "the account of a send does not close; see `tocsin audit`",
            push_id=push_id,
            fault=fault,
        )
