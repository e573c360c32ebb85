"""What Expo's tickets, receipts and request errors mean.

Pure: an answer in, outcomes out. It must not decide what follows from a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.answer_class import (
    BY_STATUS,
    AnswerClass,
    class_of_status,
    hide_targets,
    outcome_of,
)
from tocsin.providers.chunks import Split
from tocsin.providers.http1 import Answer
from tocsin.providers.json_message import parse_object
from tocsin.providers.outcomes import ACCEPTED, is_success, read_id

BY_ERROR: Mapping[str, AnswerClass] = {
    "DeviceNotRegistered": AnswerClass(Verdict.UNREGISTERED, "unregistered"),
    "MessageTooBig": AnswerClass(Verdict.REJECTED, "payload_too_large", of_body=True),
    "MessageRateExceeded": AnswerClass(Verdict.RETRY, "rate_exceeded"),
    # A key that is missing at Expo concerns one platform of one project only.
    "MismatchSenderId": AnswerClass(Verdict.MISCONFIGURED, "mismatch_sender_id"),
    "InvalidCredentials": AnswerClass(Verdict.MISCONFIGURED, "invalid_credentials"),
    "DeveloperError": AnswerClass(Verdict.MISCONFIGURED, "developer_error"),
    "ProviderError": AnswerClass(Verdict.RETRY, "provider_error"),
    "ExpoError": AnswerClass(Verdict.RETRY, "expo_error"),
}
"""`details.error` of one ticket or one receipt."""
_TOKEN = re.compile(r"Expo(?:nent)?PushToken\[[^\[\]]*\]")
UNKNOWN_ERROR = AnswerClass(Verdict.RETRY, "unknown_error")

TOO_MANY_PROJECTS = "PUSH_TOO_MANY_EXPERIENCE_IDS"
BY_REQUEST_ERROR: Mapping[str, AnswerClass] = {
    "TOO_MANY_REQUESTS": AnswerClass(Verdict.RETRY, "quota_exceeded", slow_down=True),
    "UNAUTHORIZED": AnswerClass(
        Verdict.MISCONFIGURED, "unauthenticated", slow_down=True
    ),
    "VALIDATION_ERROR": AnswerClass(Verdict.REJECTED, "invalid_message", of_body=True),
    "PUSH_TOO_MANY_NOTIFICATIONS": AnswerClass(Verdict.REJECTED, "too_many_messages"),
    "PUSH_TOO_MANY_RECEIPTS": AnswerClass(Verdict.REJECTED, "too_many_receipts"),
    TOO_MANY_PROJECTS: AnswerClass(Verdict.REJECTED, "too_many_projects"),
}
"""`errors[0].code` of a whole request; any other falls back to the status."""


def read_tickets(
    answer: Answer, targets: Sequence[str]
) -> Outcome | list[Outcome] | Split:
    """Outcomes in the order of the request, or one for all of it.

    Expo takes one project per request: a mixed request is split by project.
    """
    fields = parse_object(answer.body)
    tickets = fields.get("data")
    if isinstance(tickets, dict):  # for a request with a single message
        tickets = [tickets]
    if isinstance(tickets, list) and is_success(answer.status):
        if len(tickets) != len(targets):
            # Taken, but nobody can say whose ticket is whose.
            return ACCEPTED
        return [
            _read_ticket(ticket, target)
            for ticket, target in zip(tickets, targets, strict=True)
        ]
    error = _request_error(fields)
    if error.get("code") == TOO_MANY_PROJECTS and len(targets) > 1:
        return Split(_by_project(error.get("details"), targets))
    if is_success(answer.status) and not error:
        return ACCEPTED
    return _failed(answer, error, targets)


def read_receipts(answer: Answer) -> Mapping[str, Outcome] | Outcome:
    """Outcomes by ticket id, or one for the whole request."""
    fields = parse_object(answer.body)
    receipts = fields.get("data")
    if answer.status == 200 and isinstance(receipts, dict):
        return {
            id: _read_ticket(receipt, "")
            for id, receipt in receipts.items()
            if isinstance(receipt, dict)
            and "status" in receipt  # one without is asked for again
        }
    return _failed(answer, _request_error(fields), ())


def _read_ticket(ticket: Any, target: str) -> Outcome:
    """The outcome of a ticket, or of a receipt, which looks the same without an id."""
    if not isinstance(ticket, dict) or "status" not in ticket:
        return ACCEPTED
    if ticket.get("status") == "ok":
        return Outcome(Verdict.DELIVERED, message_id=read_id(ticket.get("id")))
    details = ticket.get("details")
    error = str(details.get("error", "")) if isinstance(details, dict) else ""
    found = BY_ERROR.get(error, UNKNOWN_ERROR)
    text = _without_tokens(f"{error} {ticket.get('message', '')}")
    return Outcome(
        found.verdict,
        found.code,
        hide_targets(text, (target,)).strip(),
        provider_code=error if error in BY_ERROR else "",
    )


def _failed(
    answer: Answer, error: Mapping[str, Any], targets: Sequence[str]
) -> Outcome:
    code = str(error.get("code", ""))
    found = BY_REQUEST_ERROR.get(code)
    if found is None:
        taken = is_success(answer.status)
        found = UNKNOWN_ERROR if taken else class_of_status(answer.status, BY_STATUS)
    text = _without_tokens(f"{code} {error.get('message', '')}")
    return outcome_of(found, answer, text, targets)


def _without_tokens(text: str) -> str:
    # Expo names tokens in its texts. A receipt is asked for by its id, so that its
    # token is not known here; but all of Expo's own look alike.
    return _TOKEN.sub("<target>", text)


def _by_project(details: Any, targets: Sequence[str]) -> list[list[int]]:
    """Indexes by project; a target that `details` leave out is a group alone."""
    project_of: dict[str, str] = {}
    if isinstance(details, dict):
        for project, tokens in details.items():
            if isinstance(tokens, list):
                project_of.update({str(token): project for token in tokens})
    groups: dict[str, list[int]] = {}
    for index, target in enumerate(targets):
        groups.setdefault(project_of.get(target, f"\0{index}"), []).append(index)
    if len(groups) == 1:
        # "Too many projects", yet one group: the same request would be refused again.
        return [[index] for index in range(len(targets))]
    return list(groups.values())


def _request_error(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    errors = fields.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return errors[0]
    return {}
