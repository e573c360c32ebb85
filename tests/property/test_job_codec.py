from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.device import Detail, DeviceFilter, ProviderTokens
from tocsin.core.push import (
    Body,
    Expand,
    ExpandJob,
    Job,
    OnlineCheck,
    Payload,
    RateRule,
    Recipients,
    RecipientType,
    Send,
    SendJob,
    TargetKind,
    Templating,
    TimeWindow,
)
from tocsin.core.rates import RateLimit
from tocsin.protocol.job_codec import (
    Undecodable,
    encode_job,
    encode_letter,
    encode_payload,
    parse_dead_job,
    parse_job,
    parse_letter,
    parse_payload,
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
_recipients = st.lists(st.tuples(_text, _text, _text), max_size=5).flatmap(
    lambda rows: st.builds(
        Recipients,
        st.just(tuple(row[0] for row in rows)),
        st.sampled_from([(), tuple(row[1] for row in rows)]),
        st.sampled_from([(), tuple(row[2] for row in rows)]),
        users=st.sampled_from([(), tuple(row[0] for row in rows)]),
        timezones=st.sampled_from([(), tuple(row[1] for row in rows)]),
        locales=st.sampled_from([(), tuple(row[2] for row in rows)]),
        metas=st.sampled_from([(), tuple(row[0] for row in rows)]),
    )
)
_sends = st.builds(Send, st.sampled_from(TargetKind), _recipients, st.booleans())
_fields: dict[str, Any] = {
    "id": _text,
    "push_id": _text,
    "provider": _text,
    "recipient_type": st.sampled_from(RecipientType),
    "accepted_at_ms": _int64,
    "integration": _text,
    "expire_at_ms": _int64,
    "attempt": st.integers(0, 2**32 - 1),
    "first_try_at_ms": _int64,
    "correlation_id": _text,
    "traceparent": _text,
}
_jobs = st.one_of(
    st.builds(SendJob, work=_sends, **_fields),
    st.builds(ExpandJob, work=_expands, **_fields),
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
