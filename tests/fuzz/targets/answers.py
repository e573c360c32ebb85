"""Answers of push services: whatever comes, every recipient has one sound outcome."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from tests.fuzz.target import Target, require, take

from tocsin.core.outcome import Outcome
from tocsin.http2 import Failure, Response
from tocsin.http2.exchange import FailureKind
from tocsin.http2.hpack import FieldBlock
from tocsin.providers import (
    apns_answers,
    expo_answers,
    fcm_answers,
    hms_answers,
    one_signal,
    push_webhook,
    pusher_beams,
    pushpad,
    webpush_answers,
)
from tocsin.providers.chunks import Split
from tocsin.providers.http1 import Answer
from tocsin.providers.retry_after import LONGEST_S, in_seconds, parse_retry_after

STATUSES: tuple[int, ...] = (
    *(200, 201, 204, 301, 400, 401, 403, 404, 406, 408),
    *(410, 413, 425, 429, 500, 502, 503, 504, 418, 599),
)
TARGETS = ("ExponentPushToken[phone-1]", "ExponentPushToken[phone-2]", "u", "e")
_DETAIL = 400
_MESSAGE_ID = 1_024

_Found = Outcome | Sequence[Outcome] | Mapping[str, Outcome] | Split | None
Read = Callable[[int, bytes, str | None], Iterable[_Found]]


def check_outcome(outcome: Outcome, asked: Collection[str]) -> None:
    """What settlement, logs and databases can live with; `asked` are the targets."""
    for text in (outcome.code, outcome.detail, outcome.message_id):
        require(isinstance(text, str), "no text")
        text.encode()  # dead letters and rows are UTF-8
        require("\0" not in text, "a NUL, which PostgreSQL refuses")
    told = f"{outcome.code} {outcome.detail}"
    require(not any(one in told for one in asked), "a token in an outcome")
    require(len(outcome.detail) <= _DETAIL, "a long detail")
    require(len(outcome.message_id) <= _MESSAGE_ID, "a long id")
    wait_s = outcome.retry_after_s
    require(wait_s is None or 0 <= wait_s <= LONGEST_S, "a wait that nobody waits")
    gone_ms = outcome.gone_at_ms
    require(gone_ms is None or 0 < gone_ms < 1 << 63, "a time that no column holds")


def check_found(found: _Found, asked: Collection[str]) -> None:
    """One outcome for all, one for each, or smaller groups with everybody in them."""
    if isinstance(found, Outcome):
        check_outcome(found, asked)
    elif isinstance(found, Split):
        indexes = sorted(index for group in found.groups for index in group)
        require(indexes == list(range(len(TARGETS))), "a split that loses somebody")
        require(all(len(g) < len(TARGETS) for g in found.groups), "a split of nothing")
    elif isinstance(found, Mapping):
        for name, outcome in found.items():
            require(isinstance(name, str), "no id")
            check_outcome(outcome, asked)
    elif found is not None:
        require(len(found) == len(TARGETS), "another number of outcomes")
        for outcome in found:
            check_outcome(outcome, asked)


def _running(read: Read, asked: Collection[str]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        choice, rest = take(data)
        status = STATUSES[choice % len(STATUSES)]
        header, mark, body = rest.partition(b"\n\n")
        if not mark:
            header, body = b"", rest
        wait = header.decode("latin-1") or None
        for found in read(status, body, wait):
            check_found(found, asked)

    return run


# --- one for each service ----------------------------------------------------


def _fcm(status: int, body: bytes, wait: str | None) -> Iterable[_Found]:
    fcm_answers.is_stale_access_token(status, body)
    yield fcm_answers.classify(status, body, wait, TARGETS[0])


def _apns(status: int, body: bytes, wait: str | None) -> Iterable[_Found]:
    reason, died_ms = apns_answers.parse_reason(body)
    if status < 300:
        yield apns_answers.read_success(wait)
        return
    for own in (False, True):
        yield apns_answers.classify(status, reason, died_ms, wait, own_topic=own)
    failure = Failure(FailureKind.CLOSED, True, "gone", goaway_debug=body)
    yield apns_answers.read_failure(failure)


def _hms(status: int, body: bytes, wait: str | None) -> Iterable[_Found]:
    answer = Answer(status, body, wait)
    hms_answers.is_stale_token(answer)
    yield hms_answers.read_answer(answer, TARGETS)


def _webpush(status: int, body: bytes, wait: str | None) -> Iterable[_Found]:
    text = (wait or "").encode("latin-1")
    names = (b"retry-after", b"location", b"date", b"x-wns-error-description")
    for used in (names[:2], names[1:3], names[3:], ()):
        fields = [(b":status", b"%d" % status), *((name, text) for name in used)]
        answer = Response(FieldBlock(tuple(fields)), body)
        yield webpush_answers.classify(answer, f"/send/{TARGETS[0]}?x={TARGETS[1]}")


def _expo(status: int, body: bytes, wait: str | None) -> Iterable[_Found]:
    answer = Answer(status, body, wait)
    yield expo_answers.read_tickets(answer, TARGETS)
    yield expo_answers.read_receipts(answer)


def _one_signal(status: int, body: bytes, wait: str | None) -> Iterable[_Found]:
    yield one_signal.read_answer(Answer(status, body, wait), TARGETS)


def _beams(status: int, body: bytes, wait: str | None) -> Iterable[_Found]:
    yield pusher_beams.read_answer(Answer(status, body, wait), TARGETS)


def _pushpad(status: int, body: bytes, wait: str | None) -> Iterable[_Found]:
    yield pushpad.read_answer(Answer(status, body, wait), TARGETS)


def _webhook(status: int, body: bytes, wait: str | None) -> Iterable[_Found]:
    yield push_webhook.read_answer(Answer(status, body, wait), TARGETS)


def _json(*answers: object) -> Callable[[], Iterable[bytes]]:
    """Examples: these answers under some statuses, and things that are no answer."""

    def examples() -> Iterable[bytes]:
        for number, answer in enumerate(answers):
            text = json.dumps(answer).encode()
            for status in (0, 4 + number % 4, 13):
                yield bytes((status,)) + b"120\n\n" + text
        yield b"\x0dFri, 31 Dec 2027 23:59:59 GMT\n\n{}"
        yield b"\x10<html>bad gateway</html>"

    return examples


_TYPES = "type.googleapis.com/google."
_FCM_DETAILS: tuple[dict[str, object], ...] = (
    {"@type": f"{_TYPES}firebase.fcm.v1.FcmError", "errorCode": "INTERNAL"},
    {
        "@type": f"{_TYPES}rpc.BadRequest",
        "fieldViolations": [{"field": "message.token"}],
    },
    {"@type": f"{_TYPES}rpc.QuotaFailure", "violations": [{"subject": "device"}]},
)
_WORDS = (
    *(TARGETS[0].encode(), b"\\ud800", b"\\u0000", b"null", b"1e999", b"\0", b"[" * 50),
    *(b'"id":', b'"error":', b'"message":', b'"errors":', b'"code":', b'"data":'),
)

_EXAMPLES: Mapping[str, tuple[Read, Callable[[], Iterable[bytes]]]] = {
    "fcm": (
        _fcm,
        _json(
            {"name": "projects/p/messages/1"},
            *(
                {"error": {"code": 400, "message": TARGETS[0], "details": [detail]}}
                for detail in _FCM_DETAILS
            ),
        ),
    ),
    "apns": (
        _apns,
        _json(
            {"reason": "Unregistered", "timestamp": 1_700_000_000_000},
            {"reason": "BadTopic"},
            {"reason": "TooManyProviderTokenUpdates"},
        ),
    ),
    "hms": (
        _hms,
        _json(
            {"code": "80000000", "msg": "Success", "requestId": "1"},
            {"code": "80100000", "msg": '{"success":1,"illegal_tokens":["u"]}'},
            {"code": "80300007", "msg": f"{TARGETS[1]} is illegal"},
            {"code": "80200003", "msg": "ended"},
        ),
    ),
    "webpush": (_webpush, _json({"reason": "VapidPkHashMismatch"}, {"errno": 102})),
    "expo": (
        _expo,
        _json(
            {"data": [{"status": "ok", "id": "a"}] * len(TARGETS)},
            {
                "data": [
                    {
                        "status": "error",
                        "message": TARGETS[0],
                        "details": {"error": "DeviceNotRegistered"},
                    }
                ]
                * len(TARGETS)
            },
            {"data": {"a": {"status": "ok"}, "b": {"status": "error"}}},
            {
                "errors": [
                    {
                        "code": "PUSH_TOO_MANY_EXPERIENCE_IDS",
                        "details": {"@a/b": [TARGETS[0]], "@c/d": ["u", "e"]},
                    }
                ]
            },
            {"errors": [{"code": "TOO_MANY_REQUESTS", "message": TARGETS[1]}]},
        ),
    ),
    "one-signal": (
        _one_signal,
        _json(
            {"id": "n"},
            {"id": "", "errors": ["All included players are not subscribed"]},
            {"id": "n", "errors": {"invalid_player_ids": ["u"]}},
            {"id": "n", "errors": {"invalid_aliases": {"external_id": ["e"]}}},
            {"errors": [f"app_id {TARGETS[0]}"]},
        ),
    ),
    "pusher-beams": (
        _beams,
        _json({"publishId": "p"}, {"error": "Unauthorized", "description": TARGETS[0]}),
    ),
    "pushpad": (_pushpad, _json({"id": 123, "uids": ["u"]}, {"error": TARGETS[1]})),
    "push-webhook": (_webhook, _json({"id": 1}, {"message": f"no {TARGETS[0]}"})),
}

ANSWERS = tuple(
    Target(
        f"answer-{name}",
        # Of FCM one target is asked for at a time: it cannot know another.
        _running(read, TARGETS[: 1 if name == "fcm" else 2]),
        examples,
        words=_WORDS,
        longest=3_072,
    )
    for name, (read, examples) in _EXAMPLES.items()
)


def run_retry_after(data: bytes) -> None:
    """A wait, or none; never an error."""
    value, _, date = data.decode("latin-1").partition("\n")
    for text in (value, in_seconds(value, date)):
        wait_s = parse_retry_after(text, 1_700_000_000.0)
        require(wait_s is None or 0 <= wait_s <= LONGEST_S, "a wait that nobody waits")


def retry_after_examples() -> Iterable[bytes]:
    """Seconds and dates."""
    date = b"Fri, 31 Dec 2027 23:59:59 GMT"
    yield b"120\n" + date
    yield date + b"\n" + b"Thu, 01 Jan 1970 00:00:00 +0000"
    yield b"1.5, 2"


RETRY_AFTER = Target(
    "retry-after",
    run_retry_after,
    retry_after_examples,
    words=(b"GMT", b"+9999", b"e", b"99999999999", b"(", b")", b",", b":", b"-0000"),
)
