"""What a settlement adds to the account of its send. Pure.

It decides nothing: what follows from an answer is for `settlement.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import structlog

from tocsin.core.accounts import Part, WalkPage, recorded
from tocsin.core.outcome import Verdict
from tocsin.core.ports.queue import Delivery
from tocsin.core.push import Expand, ExpandJob, Job, RecipientPage, SendJob
from tocsin.delivery.reports import EXPIRED, count_recipients
from tocsin.delivery.run import Run

_ENDS = {Verdict.DELIVERED: Part.DELIVERED, Verdict.UNREGISTERED: Part.REMOVED}

_log = structlog.get_logger(__name__)


def rest_of(delivery: Delivery) -> Job | None:
    """The job without recipients whose result an earlier holder recorded.

    `None` if nobody is left of it.
    """
    job, done = delivery.job, delivery.done
    if not isinstance(job, SendJob) or not any(done):
        return job
    left = job.work.recipients.undone(done)
    return job.part(left, id=job.id) if left else None


def ended_in_batch(
    delivery: Delivery,
    job: SendJob,
    run: Run | None,
    *,
    follow: Iterable[Job],
    dead: Iterable[Job],
    dropped: Mapping[str, Sequence[int]],
) -> Counter[Part]:
    """What became of the recipients of a batch that is settled now."""
    size = len(job.work.recipients)
    ended = recorded(delivery.done, size)
    ended[Part.DEAD] += sum(map(count_recipients, dead))
    ended.update(_dropped(dropped))
    if run is not None:
        ended[Part.UNCONFIRMED] += run.unconfirmed
        ended[Part.EXPIRED] += run.expired + run.too_late.total() - run.unconfirmed
        ended[Part.REMOVED] += run.suspected
        for index, outcome, _ in run.results:
            part = _ENDS.get(outcome.verdict)
            if part is not None and index not in run.held:
                ended[part] += 1
    missing = size - ended.total() - sum(map(count_recipients, follow))
    if missing:
        # Never seen; an account that does not close tells of it, and where to look.
        _log.error(
            "recipients of a batch are not accounted for; please report this",
            push_id=job.push_id,
            job_id=job.id,
            missing=missing,
        )
    return +ended


def ended_in_page(dropped: Mapping[str, Sequence[int]], spared: int) -> Counter[Part]:
    """What became of recipients of a page before they were in any batch."""
    ended = _dropped(dropped)
    ended[Part.ONLINE] += spared
    return +ended


def page_of(job: ExpandJob, page: RecipientPage) -> WalkPage | None:
    """The page of a walk for its account; `None` where no account is kept."""
    if not job.unit:
        return None
    work = job.work
    return WalkPage(
        job.page_unit,
        len(page.recipients),
        work.cursor,
        page.cursor or work.until,
        left=bool(page.cursor),
    )


def cut(work: Expand, page: RecipientPage) -> RecipientPage:
    """The page up to the end of the walk's range."""
    ids = page.recipients.device_ids
    if not work.until or not ids or (ids[-1] < work.until and page.cursor):
        return page
    # Ids sort as they were made, and the store returns them in that order.
    inside = sum(id <= work.until for id in ids)
    return RecipientPage(page.recipients.slice(0, inside))


def _dropped(dropped: Mapping[str, Sequence[int]]) -> Counter[Part]:
    ended: Counter[Part] = Counter()
    for code, indexes in dropped.items():
        part = Part.EXPIRED if code == EXPIRED else Part.DROPPED
        ended[part] += len(indexes)
    return ended
