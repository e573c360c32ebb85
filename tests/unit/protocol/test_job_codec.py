"""Jobs, payloads and letters as bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tocsin.core.accounts import Change, Part
from tocsin.core.device import DeviceFilter
from tocsin.core.lanes import Priority
from tocsin.core.push import (
    Expand,
    ExpandJob,
    OnlineCheck,
    Payload,
    Recipients,
    RecipientType,
    Send,
    SendJob,
    TargetKind,
)
from tocsin.protocol import job_pb2
from tocsin.protocol.job_codec import (
    Undecodable,
    encode_job,
    encode_letter,
    parse_cancelled,
    parse_dead_job,
    parse_job,
    parse_letter,
    parse_payload,
    refresh,
    without_done,
)

JOB = SendJob(
    id="j",
    push_id="p",
    provider="fcm",
    work=Send(TargetKind.TOKEN, Recipients(("t",), ("d",), ("web",))),
    recipient_type=RecipientType.FILTER,
    accepted_at_ms=1,
)


def walk_job(work: Expand) -> ExpandJob:
    return ExpandJob(
        id="j",
        push_id="p",
        provider="fcm",
        work=work,
        recipient_type=RecipientType.FILTER,
        accepted_at_ms=1,
    )


@pytest.mark.parametrize("priority", list(Priority))
def test_the_priority_survives(priority: Priority) -> None:
    """The normal one is written as releases before it wrote their jobs: not at all."""
    job = replace(JOB, priority=priority)
    assert parse_job(encode_job(job)) == job
    message = job_pb2.Job.FromString(encode_job(job))
    assert message.priority == ("" if priority is Priority.NORMAL else priority.value)


def test_a_priority_of_a_newer_release_is_the_normal_one() -> None:
    """The job is done all the same."""
    message = job_pb2.Job.FromString(encode_job(JOB))
    message.priority = "at once"
    assert parse_job(message.SerializeToString()) == JOB


def test_a_letter_that_cannot_be_read_keeps_its_lane() -> None:
    """As far as the name of its queue says it."""
    queue = "send:fcm:bulk:retry"
    letter = parse_letter(b"\xff", id="1", queue=queue, push_id="p", payload=b"")
    assert (letter.job.provider, letter.job.priority) == ("fcm", Priority.BULK)


def test_fields_of_a_newer_release_are_ignored() -> None:
    """A worker does the job although it does not know all of its fields."""
    newer = encode_job(JOB) + b"\xfa\x3e\x03new"  # field 1007, a string
    assert parse_job(newer) == JOB


def test_filter_with_an_unknown_condition_is_refused() -> None:
    """Ignoring a condition would reach more devices than was asked for."""
    message = job_pb2.Job()
    message.ParseFromString(encode_job(walk_job(Expand(DeviceFilter()))))
    message.expand.filter.MergeFromString(b"\xfa\x3e\x03new")
    with pytest.raises(Undecodable, match="condition"):
        parse_job(message.SerializeToString())


def test_walk_without_a_filter_is_refused() -> None:
    """A filter that got lost would be every device."""
    message = job_pb2.Job(id="j", expand=job_pb2.Expand(cursor="c"))
    with pytest.raises(Undecodable, match="filter"):
        parse_job(message.SerializeToString())


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (job_pb2.Job(id="j"), "kind of work"),
        (job_pb2.Job(send=job_pb2.Send(target_kind="planet")), "target kind"),
        (
            job_pb2.Job(send=job_pb2.Send(targets=["a", "b"], device_ids=["1"])),
            "differ in length",
        ),
    ],
)
def test_work_that_would_be_guessed_is_refused(message: job_pb2.Job, why: str) -> None:
    """Unknown work, an unknown kind of target, and lists that do not fit."""
    with pytest.raises(Undecodable, match=why):
        parse_job(message.SerializeToString())


@pytest.mark.parametrize(
    ("device_ids", "expected"),
    [((), RecipientType.TOKENS), (("d",), RecipientType.FILTER)],
)
def test_unknown_recipient_type_is_only_a_label(
    device_ids: tuple[str, ...], expected: RecipientType
) -> None:
    """It is replaced by what the job looks like."""
    message = job_pb2.Job(
        recipient_type="flock",
        send=job_pb2.Send(targets=["t"], device_ids=device_ids),
    )
    assert parse_job(message.SerializeToString()).recipient_type is expected


def test_letter_without_a_readable_job_can_be_listed() -> None:
    """Its job is empty, of the queue and request that it came from."""
    data = encode_letter(None, "undecodable", 7)
    letter = parse_letter(data, id="1", queue="expand:hms", push_id="p", payload=b"")
    assert (letter.job.queue, letter.job.push_id) == ("expand:hms", "p")
    assert letter.reason == "undecodable"
    assert parse_dead_job(data) is None


def test_refreshed_job_was_never_tried() -> None:
    """Attempts and first try are gone, all else stays."""
    tired = replace(JOB, attempt=4, first_try_at_ms=9)
    assert refresh(tired) == JOB


def test_jobs_of_the_release_before_have_none_of_the_new_fields() -> None:
    """A job and a payload written without them mean a plain send at once."""
    message = job_pb2.Job(id="1", push_id="p", provider="fcm", recipient_type="filter")
    message.send.target_kind = "token"
    message.send.targets.append("t")
    message.send.device_ids.append("d")
    message.send.platforms.append("ios")
    job = parse_job(message.SerializeToString())
    assert job.work == Send(TargetKind.TOKEN, Recipients(("t",), ("d",), ("ios",)))
    payload = parse_payload(job_pb2.Payload(push_id="p").SerializeToString())
    assert payload == Payload("p", "", "", {})
    message.expand.filter.topics.append("t")
    walk = parse_job(message.SerializeToString())
    assert walk.work == Expand(DeviceFilter(topics=("t",)))


def test_a_walk_that_asks_a_channel_is_a_plain_one_to_the_release_before() -> None:
    """It does not know the field, and reaches everybody: too many, never too few."""
    work = Expand(DeviceFilter(topics=("t",)), online=OnlineCheck("c", 0))
    message = job_pb2.Job()
    message.ParseFromString(encode_job(walk_job(work)))
    assert message.expand.HasField("online")
    message.expand.ClearField("online")
    plain = parse_job(message.SerializeToString())
    assert plain.work == replace(work, online=None)


def test_a_detail_that_is_not_known_is_not_guessed() -> None:
    """A newer release asks for a column that this one could not carry."""
    message = job_pb2.Job(provider="fcm")
    message.expand.filter.topics.append("t")
    message.expand.details.append("shoe_size")
    with pytest.raises(Undecodable, match="detail"):
        parse_job(message.SerializeToString())


def test_an_entry_without_those_who_are_done() -> None:
    """A job that moves takes only the recipients whose result was not recorded."""
    names = tuple("abcdefghij")
    work = Send(TargetKind.TOKEN, Recipients(names, names, names, users=names))
    job = replace(JOB, work=work, unit="0:1")
    rest, ended = without_done(
        encode_job(job), bytes([0b1010_0101, 0b10, 0b0000_0100, 0])
    )
    moved = parse_job(rest)
    assert isinstance(moved.work, Send)
    assert moved.work == work.subset([1, 3, 4, 6, 8])
    assert ended == Change("0:1", open=-5, parts={Part.DELIVERED: 4, Part.REMOVED: 1})
    assert without_done(encode_job(job), b"\0\0") == (encode_job(job), None)
    assert without_done(b"no job", b"\1") == (b"no job", None)
    older = replace(job, unit="")
    assert without_done(encode_job(older), b"\1")[1] is None


def test_cancelled_jobs_that_cannot_be_read_are_left_out() -> None:
    """They are gone all the same, only nobody can count them."""
    work = Send(TargetKind.TOKEN, Recipients(("t",)))
    job = replace(JOB, work=work)
    assert parse_cancelled([b"\xff", encode_job(job)], "u") == [job]
