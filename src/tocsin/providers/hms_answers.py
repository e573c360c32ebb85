"""What an answer of Huawei's Push Kit means, by its result code before its status.

Pure: an answer in, outcomes out. It must not decide what follows from a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.answer_class import (
    AnswerClass,
    class_of_status,
    outcome_of,
)
from tocsin.providers.http1 import Answer
from tocsin.providers.json_message import parse_object
from tocsin.providers.outcomes import ACCEPTED, is_success, read_id

_CODE = re.compile(rb'"code"\s*:\s*"?(\d{8})\b')
_IS_CODE = re.compile(r"[0-9]{8}")
SUCCESS = "80000000"
PARTIAL = "80100000"
"""Some tokens are illegal; `msg` is a JSON text that lists them."""
STALE_TOKEN = frozenset({"80200001", "80200003", "80200005"})
"""The access token is refused or has ended: a new one is tried once."""

BY_CODE: Mapping[str, AnswerClass] = {
    "80100001": AnswerClass(Verdict.REJECTED, "invalid_parameter", of_body=True),
    "80100003": AnswerClass(Verdict.REJECTED, "invalid_message", of_body=True),
    "80100004": AnswerClass(Verdict.REJECTED, "invalid_ttl", of_body=True),
    "80100013": AnswerClass(Verdict.REJECTED, "invalid_collapse_key", of_body=True),
    "80100016": AnswerClass(Verdict.REJECTED, "sensitive_content", of_body=True),
    "80100017": AnswerClass(Verdict.RETRY, "too_many_topic_tasks"),
    "80100018": AnswerClass(Verdict.REJECTED, "invalid_signature", of_body=True),
    # Only after the renewal was refused too: the secret belongs to another app.
    "80200001": AnswerClass(Verdict.MISCONFIGURED, "unauthenticated", slow_down=True),
    "80200003": AnswerClass(Verdict.MISCONFIGURED, "unauthenticated", slow_down=True),
    "80200005": AnswerClass(Verdict.MISCONFIGURED, "unauthenticated", slow_down=True),
    "80300002": AnswerClass(Verdict.MISCONFIGURED, "permission_denied", slow_down=True),
    # Also the answer to a wrong app id, when every token is somebody else's.
    "80300007": AnswerClass(Verdict.SUSPECT, "all_tokens_invalid"),
    "80300008": AnswerClass(Verdict.REJECTED, "payload_too_large", of_body=True),
    "80300010": AnswerClass(Verdict.REJECTED, "too_many_tokens"),
    # These two hang on what this message asks for; others may well go out.
    "80300011": AnswerClass(Verdict.MISCONFIGURED, "high_priority_not_granted"),
    "80300013": AnswerClass(Verdict.MISCONFIGURED, "invalid_receipt"),
    "80600003": AnswerClass(Verdict.RETRY, "oauth_unavailable", slow_down=True),
    "81000001": AnswerClass(Verdict.RETRY, "internal"),
}
"""By result code, whatever the status: a 200 may carry any of them."""

BY_STATUS: Mapping[int, AnswerClass] = {
    400: AnswerClass(Verdict.REJECTED, "invalid_message", of_body=True),
    401: AnswerClass(Verdict.MISCONFIGURED, "unauthenticated", slow_down=True),
    403: AnswerClass(Verdict.MISCONFIGURED, "permission_denied", slow_down=True),
    404: AnswerClass(Verdict.MISCONFIGURED, "not_found", slow_down=True),
    408: AnswerClass(Verdict.RETRY, "timeout"),
    413: AnswerClass(Verdict.REJECTED, "payload_too_large", of_body=True),
    429: AnswerClass(Verdict.RETRY, "quota_exceeded", slow_down=True),
    500: AnswerClass(Verdict.RETRY, "internal"),
    502: AnswerClass(Verdict.RETRY, "bad_gateway"),
    # Flow control counts devices per second over the whole app.
    503: AnswerClass(Verdict.RETRY, "flow_control", slow_down=True),
    504: AnswerClass(Verdict.RETRY, "gateway_timeout"),
}
"""For answers without a result code that is known."""

UNKNOWN_CODE = AnswerClass(Verdict.RETRY, "unknown_code")
ILLEGAL = Outcome(Verdict.UNREGISTERED, "illegal_token", "others of the request worked")
ALL_ILLEGAL = Outcome(
    Verdict.SUSPECT, "illegal_token", "no token of the request worked"
)
"""With no success at all, the fault may be our app id and not the tokens: guarded."""
NONE_WORKED = Outcome(Verdict.RETRY, "no_success", "nobody was sent it, no token named")


def is_stale_token(answer: Answer) -> bool:
    """Whether the answer says that the access token, and nothing else, is refused."""
    code = _code(parse_object(answer.body), answer.body)
    return code in STALE_TOKEN or (answer.status == 401 and code not in BY_CODE)


def read_answer(answer: Answer, targets: Sequence[str]) -> Outcome | list[Outcome]:
    """One outcome for all targets of the request, or one for each in order."""
    fields = parse_object(answer.body)
    code = _code(fields, answer.body)
    taken = is_success(answer.status)
    if taken and code == SUCCESS:
        return _sent(fields)
    if code == PARTIAL:
        return _read_partial(fields, targets)
    if taken and not code:
        return ACCEPTED
    found = BY_CODE.get(code)
    if found is None:
        found = UNKNOWN_CODE if taken else class_of_status(answer.status, BY_STATUS)
    return outcome_of(
        found, answer, f"{code} {fields.get('msg', '')}", targets, code=code
    )


def _read_partial(
    fields: Mapping[str, Any], targets: Sequence[str]
) -> Outcome | list[Outcome]:
    said = fields.get("msg")
    details = said if isinstance(said, dict) else parse_object(_bytes(said))
    illegal = details.get("illegal_tokens")
    if not isinstance(illegal, list) and "success" not in details:
        return ACCEPTED  # some got it, and nobody can say who
    named = {token for token in illegal or () if isinstance(token, str)}
    if _nobody(details, named, targets):
        return [ALL_ILLEGAL if one in named else NONE_WORKED for one in targets]
    sent = _sent(fields)
    return [ILLEGAL if one in named else sent for one in targets]


def _bytes(said: object) -> bytes:
    # JSON may hold half a character, which has no bytes.
    return str(said).encode(errors="replace")


def _nobody(
    details: Mapping[str, Any], named: Collection[str], targets: Sequence[str]
) -> bool:
    """Whether not one token of the request worked."""
    success = details.get("success")
    if isinstance(success, int):
        return success <= 0
    return all(one in named for one in targets)


def _code(fields: Mapping[str, Any], body: bytes) -> str:
    """Huawei's result code, or "" where something in front of Huawei answered.

    A body that was cut is no JSON, so there the code is searched for in the bytes: it
    may say that nothing was sent.
    """
    code = str(fields["code"]) if "code" in fields else ""
    found = None if fields else _CODE.search(body)
    if found is not None:
        code = found[1].decode()
    return code if _IS_CODE.fullmatch(code) else ""


def _sent(fields: Mapping[str, Any]) -> Outcome:
    id = read_id(fields.get("requestId"))
    return Outcome(Verdict.DELIVERED, message_id=id) if id else ACCEPTED
