"""Checks a body that letters are to get, as the body of a send. Part of `admin`.

It changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from tocsin.core.dead_letters import Mend
from tocsin.core.device import Detail
from tocsin.core.errors import BadRequest
from tocsin.core.push import DeadLetter, Payload, Recipients, SendJob
from tocsin.push import checks
from tocsin.push.bodies import body_field, check_body
from tocsin.push.options import read_body


class MendChecks:
    """`payload_size` is the limit of a body, in bytes; `enabled` are the providers."""

    def __init__(self, enabled: Collection[str], *, payload_size: int) -> None:
        self._enabled = enabled
        self._payload_size = payload_size

    def check(self, mend: Mend) -> None:
        """Raises `BadRequest` that names the field of `body`."""
        checks.check_choice("body.provider", mend.provider, tuple(self._enabled))
        try:
            check_body(mend.provider, mend.body, self._payload_size)
        except BadRequest as error:
            raise _as_our_field(error, mend.provider) from None

    def check_for(
        self, mend: Mend, letter: DeadLetter, payload: Payload | None
    ) -> Mend:
        """The mend with what its templates use, if those of this send are rendered.

        Raises `BadRequest` for a fault of a template, and where the letter does not
        carry what one uses.
        """
        if payload is None or payload.templating is None:
            return mend
        try:
            used = frozenset(read_body(mend.provider, mend.body, payload.templating))
        except BadRequest as error:
            raise _as_our_field(error, mend.provider) from None
        if isinstance(letter.job, SendJob):
            missing = used - _carried(letter.job.work.recipients)
            if missing:
                words = f"uses {', '.join(sorted(missing))} of devices, which letter"
                raise BadRequest("body.message", f"{words} {letter.id} does not carry")
        return replace(mend, details=mend.details | used)


def _carried(recipients: Recipients) -> set[Detail]:
    columns = {
        Detail.USER: recipients.users,
        Detail.TIMEZONE: recipients.timezones,
        Detail.LOCALE: recipients.locales,
        Detail.META: recipients.metas,
    }
    return {detail for detail, column in columns.items() if column}


def _as_our_field(error: BadRequest, provider: str) -> BadRequest:
    outer, content = body_field(provider)
    for known, ours in ((content, "body.message"), (outer, "body")):
        if error.field.startswith(known):
            return BadRequest(ours + error.field.removeprefix(known), error.reason)
    return error
