"""What an answer means, as data: the entries of every provider's table of answers.

It must not know any provider; the tables stand in the providers' own files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.http1 import Answer
from tocsin.providers.retry_after import QUOTA_WAIT_S, parse_retry_after

_DETAIL_LIMIT = 300
_SEARCHED = 65_536
"""Characters of a provider's text in which targets are looked for: a bound on work."""


@dataclass(frozen=True, slots=True)
class AnswerClass:
    """The verdict on one kind of answer, its code in metrics, and its scope.

    `slow_down` means that every other recipient would get the same answer now,
    `of_body` that every other recipient of the same message would.
    """

    verdict: Verdict
    code: str
    slow_down: bool = False
    of_body: bool = False


BY_STATUS: Mapping[int, AnswerClass] = {
    400: AnswerClass(Verdict.REJECTED, "invalid_message", of_body=True),
    401: AnswerClass(Verdict.MISCONFIGURED, "unauthenticated", slow_down=True),
    402: AnswerClass(Verdict.MISCONFIGURED, "payment_required", slow_down=True),
    403: AnswerClass(Verdict.MISCONFIGURED, "permission_denied", slow_down=True),
    404: AnswerClass(Verdict.MISCONFIGURED, "not_found", slow_down=True),
    408: AnswerClass(Verdict.RETRY, "timeout"),
    413: AnswerClass(Verdict.REJECTED, "payload_too_large", of_body=True),
    422: AnswerClass(Verdict.REJECTED, "invalid_message", of_body=True),
    425: AnswerClass(Verdict.RETRY, "too_early"),
    429: AnswerClass(Verdict.RETRY, "quota_exceeded", slow_down=True),
    500: AnswerClass(Verdict.RETRY, "internal"),
    502: AnswerClass(Verdict.RETRY, "bad_gateway"),
    503: AnswerClass(Verdict.RETRY, "unavailable"),
    504: AnswerClass(Verdict.RETRY, "gateway_timeout"),
}
"""What HTTP alone says, for services that give their statuses no meaning of their
own. A 404 or a redirect is a wrong address here, never a dead token."""

OTHER_SERVER_ERROR = AnswerClass(Verdict.RETRY, "server_error")
OTHER_ANSWER = AnswerClass(Verdict.MISCONFIGURED, "unexpected_status", slow_down=True)

DRY_RUN = Outcome(Verdict.DELIVERED)
"""For services that cannot check without delivering: nothing was asked of them, so
there is no id."""


def class_of_status(
    status: int, table: Mapping[int, AnswerClass] = BY_STATUS
) -> AnswerClass:
    """The class of any status that is no success."""
    known = table.get(status)
    if known is not None:
        return known
    return OTHER_SERVER_ERROR if status >= 500 else OTHER_ANSWER


def outcome_of(
    found: AnswerClass,
    answer: Answer,
    text: str,
    targets: Collection[str] = (),
    *,
    code: str = "",
) -> Outcome:
    """The outcome for every recipient of a request that got this answer.

    `text` is what the service said; `targets` are replaced in it. `code` is a known
    code of the service's own.
    """
    wait_s = None
    if found.verdict is Verdict.RETRY:
        wait_s = parse_retry_after(answer.retry_after)
        if wait_s is None and answer.status == 429:
            wait_s = QUOTA_WAIT_S
    return Outcome(
        found.verdict,
        found.code,
        f"{answer.status} {hide_targets(text, targets)}".strip()[:_DETAIL_LIMIT],
        retry_after_s=wait_s,
        slow_down=found.slow_down,
        of_body=found.of_body,
        provider_code=code or str(answer.status),
    )


def hide_targets(text: str, targets: Collection[str], mark: str = "<target>") -> str:
    """The beginning of a provider's text, with `mark` in place of these targets."""
    text = text[:_SEARCHED]
    # All are searched for in the text as it came: in a text with marks already, a
    # target such as "e" would be found in each mark, and make it longer and longer.
    places = sorted(
        (at, -len(target)) for target in set(targets) for at in _find(text, target)
    )
    kept: list[str] = []
    end = 0
    for at, length in places:
        if at >= end:
            kept += [text[end:at], mark]
        end = max(end, at - length)
    kept.append(text[end:])
    return "".join(kept)[:_DETAIL_LIMIT]


def _find(text: str, target: str) -> Iterator[int]:
    at = text.find(target) if target else -1
    while at >= 0:
        yield at
        at = text.find(target, at + len(target))
