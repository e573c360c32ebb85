"""API room: protobuf messages of `AdminApi` ⇄ core nouns.

Rules are checked in the services. A token leaves here masked, and in no other way.
"""

from __future__ import annotations

from dataclasses import fields

from tocsin.admin.dead_letters import LetterGroup, LetterView
from tocsin.admin.letter_choice import LetterChoice
from tocsin.core.dead_letters import LetterFilter, LetterHead, Mend
from tocsin.core.device import RemovedFilter
from tocsin.core.masking import mask_target
from tocsin.core.push import Body, Expand, SendJob
from tocsin.core.results import ResultEvent, ResultFilter
from tocsin.protocol import admin_pb2


def letter_filter_from(message: admin_pb2.DeadLetterFilter) -> LetterFilter:
    """Which dead letters are meant."""
    return LetterFilter(
        reasons=tuple(message.reasons),
        providers=tuple(message.providers),
        integrations=tuple(message.integrations),
        push_ids=tuple(message.push_ids),
        uids=tuple(message.uids),
        since_ms=message.since_ms,
        until_ms=message.until_ms,
    )


def choice_from(
    request: admin_pb2.ReplayDeadLettersRequest | admin_pb2.PurgeDeadLettersRequest,
) -> LetterChoice:
    """Which dead letters are to be changed."""
    return LetterChoice(
        ids=tuple(request.ids),
        filter=letter_filter_from(request.filter),
        all=request.all,
        cursor=request.cursor,
        limit=request.limit,
    )


def mend_from(message: admin_pb2.DeadLetterBody) -> Mend:
    """The body that they are to get."""
    return Mend(message.provider, Body(message.message, dict(message.headers)))


def summary_of(head: LetterHead) -> admin_pb2.DeadLetterSummary:
    """One letter in short."""
    return admin_pb2.DeadLetterSummary(
        id=head.id,
        reason=head.group,
        detail=head.reason,
        at_ms=head.at_ms,
        uid=head.uid,
        push_id=head.push_id,
        stage=head.stage,
        provider=head.provider,
        integration=head.credential,
        attempt=head.attempt,
        recipients=head.recipients,
    )


def removal_filter_from(message: admin_pb2.RemovalFilter) -> RemovedFilter:
    """Which held devices are meant."""
    return RemovedFilter(
        ids=tuple(message.ids),
        users=tuple(message.users),
        topics=tuple(message.topics),
        providers=tuple(message.providers),
        integrations=tuple(message.integrations),
        reasons=tuple(message.reasons),
        since_ms=message.since_ms,
        until_ms=message.until_ms,
    )


def group_of(group: LetterGroup) -> admin_pb2.DeadLetterGroup:
    """Letters of one cause."""
    return admin_pb2.DeadLetterGroup(
        reason=group.reason,
        provider=group.provider,
        integration=group.integration,
        letters=group.letters,
        recipients=group.recipients,
        first_ms=group.first_ms,
        last_ms=group.last_ms,
        example_id=group.example_id,
    )


def fill_view(result: admin_pb2.GetDeadLetterResult, view: LetterView) -> None:
    """One letter with its job."""
    job = view.letter.job
    result.summary.CopyFrom(summary_of(view.head))
    result.job_id = job.id
    result.correlation_id = job.correlation_id
    result.recipient_type = job.recipient_type.value
    result.accepted_at_ms = job.accepted_at_ms
    result.expire_at_ms = job.expire_at_ms
    result.first_try_at_ms = job.first_try_at_ms
    if isinstance(job, SendJob):
        recipients = job.work.recipients
        for index in range(len(recipients)):
            one = recipients[index]
            result.recipients.add(
                device_id=one.device_id,
                platform=one.platform,
                target=mask_target(one.target),
            )
    else:
        _fill_walk(result.walk, job.work)
    if view.body is not None:
        result.body.provider = job.provider
        result.body.message = view.body.message
        result.body.headers.update(view.body.headers)


def _fill_walk(walk: admin_pb2.DeadLetterWalk, work: Expand) -> None:
    filter = work.filter
    for name in ("ids", "users", "topics", "providers", "platforms", "integrations"):
        getattr(walk, name).extend(getattr(filter, name))
    walk.tags.update(filter.tags)
    walk.provider_tokens = sum(len(each.tokens) for each in filter.provider_tokens)
    walk.cursor, walk.page = work.cursor, work.page


def result_filter_from(message: admin_pb2.ResultFilter) -> ResultFilter:
    """Which results are meant."""
    return ResultFilter(
        uids=tuple(message.uids),
        outcomes=tuple(message.outcomes),
        providers=tuple(message.providers),
        details=tuple(message.details),
    )


def fill_result(message: admin_pb2.ResultEvent, event: ResultEvent) -> None:
    """Write an event into its message."""
    for name in _RESULT_FIELDS:
        if value := getattr(event, name):
            setattr(message, name, value)
    for outcome, count in event.counts.items():
        message.counts[outcome] = max(0, count)


_RESULT_FIELDS = tuple(
    each.name for each in fields(ResultEvent) if each.name != "counts"
)
