"""Jobs, payloads and letters as bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.device import Detail, DeviceFilter, ProviderTokens
from tocsin.core.push import (
    Body,
    Expand,
    Job,
    OnlineCheck,
    Payload,
    RateRule,
    RecipientType,
    Send,
    TargetKind,
    Templating,
    TimeWindow,
)
from tocsin.core.rates import RateLimit
from tocsin.protocol import job_pb2
from tocsin.queue.codec import (
    Undecodable,
    encode_job,
    encode_letter,
    encode_payload,
    parse_cancelled,
    parse_dead_job,
    parse_job,
    parse_letter,
    parse_payload,
    refresh,
    without_done,
)

_text = st.text(max_size=20)
_texts = st.lists(_text, max_size=4).map(tuple)
_int64 = st.integers(0, 2**63 - 1)
_filters = st.builds(
    DeviceFilter,
    ids=_texts,
    users=_texts,
    topics=_texts,
    providers=_texts,
    platforms=_texts,
    provider_tokens=st.lists(st.builds(ProviderTokens, _text, _texts)).map(tuple),
    tags=st.dictionaries(_text, _text, max_size=3),
    integrations=_texts,
)
_expands = st.builds(
    Expand,
    _filters,
    _text,
    st.integers(0, 2**32 - 1),
    st.frozensets(st.sampled_from(Detail)),
    st.none() | st.builds(OnlineCheck, _text, _int64),
)
_sends = st.lists(st.tuples(_text, _text, _text), max_size=5).flatmap(
    lambda rows: st.builds(
        Send,
        st.sampled_from(TargetKind),
        st.just(tuple(row[0] for row in rows)),
        st.sampled_from([(), tuple(row[1] for row in rows)]),
        st.sampled_from([(), tuple(row[2] for row in rows)]),
        users=st.sampled_from([(), tuple(row[0] for row in rows)]),
        timezones=st.sampled_from([(), tuple(row[1] for row in rows)]),
        locales=st.sampled_from([(), tuple(row[2] for row in rows)]),
        metas=st.sampled_from([(), tuple(row[0] for row in rows)]),
        admitted=st.booleans(),
    )
)
_jobs = st.builds(
    Job,
    id=_text,
    push_id=_text,
    provider=_text,
    work=st.one_of(_expands, _sends),
    recipient_type=st.sampled_from(RecipientType),
    accepted_at_ms=_int64,
    integration=_text,
    expire_at_ms=_int64,
    attempt=st.integers(0, 2**32 - 1),
    first_try_at_ms=_int64,
    correlation_id=_text,
)
_rates = st.builds(
    RateRule,
    st.lists(
        st.builds(RateLimit, st.integers(1, 2**31), st.integers(1, 2**31 - 1)),
        max_size=3,
    ).map(tuple),
    _text,
    st.booleans(),
)
_windows = st.builds(
    TimeWindow, st.integers(0, 86_399), st.integers(0, 86_399), st.booleans()
)
_templatings = st.builds(
    Templating,
    st.dictionaries(_text, st.dictionaries(_text, _text, max_size=2), max_size=2),
    st.booleans(),
)
_payloads = st.builds(
    Payload,
    reliable=st.booleans(),
    rate=st.none() | _rates,
    window=st.none() | _windows,
    templating=st.none() | _templatings,
    push_id=_text,
    uid=_text,
    analytics_uid=_text,
    bodies=st.dictionaries(
        _text,
        st.builds(
            Body, st.binary(max_size=50), st.dictionaries(_text, _text, max_size=3)
        ),
        max_size=3,
    ),
)

JOB = Job(
    id="j",
    push_id="p",
    provider="fcm",
    work=Send(TargetKind.TOKEN, ("t",), ("d",), ("web",)),
    recipient_type=RecipientType.FILTER,
    accepted_at_ms=1,
)


@given(_jobs)
def test_any_job_round_trips(job: Job) -> None:
    """Bytes and back gives the same job."""
    assert parse_job(encode_job(job)) == job


@given(_payloads)
def test_any_payload_round_trips(payload: Payload) -> None:
    """Bodies keep every byte and every header."""
    assert parse_payload(encode_payload(payload)) == payload


@given(_jobs, _text, _int64)
def test_any_letter_round_trips(job: Job, reason: str, at_ms: int) -> None:
    """A letter gives its job, reason and time back."""
    data = encode_letter(job, reason, at_ms)
    letter = parse_letter(data, id="1", queue="q", push_id="x", payload=b"\xff")
    assert letter.uid == ""
    assert (letter.id, letter.job, letter.reason) == ("1", job, reason)
    assert letter.at_ms == at_ms
    assert parse_dead_job(data) == job


@given(st.binary(max_size=60))
def test_any_bytes_are_a_job_or_undecodable(data: bytes) -> None:
    """Rubbish raises the one exception that leads to the dead letters."""
    try:
        job = parse_job(data)
    except Undecodable:
        return
    assert parse_job(encode_job(job)) == job


def test_fields_of_a_newer_release_are_ignored() -> None:
    """A worker does the job although it does not know all of its fields."""
    newer = encode_job(JOB) + b"\xfa\x3e\x03new"  # field 1007, a string
    assert parse_job(newer) == JOB


def test_filter_with_an_unknown_condition_is_refused() -> None:
    """Ignoring a condition would reach more devices than was asked for."""
    message = job_pb2.Job()
    message.ParseFromString(encode_job(replace(JOB, work=Expand(DeviceFilter()))))
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
    assert job.work == Send(TargetKind.TOKEN, ("t",), ("d",), ("ios",))
    payload = parse_payload(job_pb2.Payload(push_id="p").SerializeToString())
    assert payload == Payload("p", "", "", {})
    message.expand.filter.topics.append("t")
    walk = parse_job(message.SerializeToString())
    assert walk.work == Expand(DeviceFilter(topics=("t",)))


def test_a_walk_that_asks_a_channel_is_a_plain_one_to_the_release_before() -> None:
    """It does not know the field, and reaches everybody: too many, never too few."""
    work = Expand(DeviceFilter(topics=("t",)), online=OnlineCheck("c", 0))
    message = job_pb2.Job()
    message.ParseFromString(encode_job(replace(JOB, work=work)))
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
    work = Send(TargetKind.TOKEN, names, names, names, users=names)
    job = Job("1", "p", "fcm", work, RecipientType.FILTER, 0)
    moved = parse_job(without_done(encode_job(job), bytes([0b1010_0101, 0b10])))
    assert isinstance(moved.work, Send)
    assert moved.work == work.subset([1, 3, 4, 6, 8])
    assert without_done(encode_job(job), b"\0\0") == encode_job(job)
    assert without_done(b"no job", b"\1") == b"no job"


def test_cancelled_jobs_that_cannot_be_read_are_left_out() -> None:
    """They are gone all the same, only nobody can count them."""
    work = Send(TargetKind.TOKEN, ("t",))
    job = Job("1", "p", "fcm", work, RecipientType.TOKENS, 0)
    assert parse_cancelled([b"\xff", encode_job(job)], "u") == [job]
