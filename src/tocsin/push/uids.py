"""Push room: recognizes a repeated send by its uid, so that it is queued only once.

A uid is claimed in the registry before its send is queued, and confirmed after.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable

import structlog

from tocsin.core.errors import ApiError
from tocsin.core.ports.sends import UidClaim, UidStore
from tocsin.core.push import RawRecipient, SendRequest
from tocsin.push.bodies import canonical_body
from tocsin.push.first_jobs import find_expiry_fault
from tocsin.push.queue_watch import QueueWatch

ONCE_LONGER_S = 3 * 3600.0
"""The queue remembers a push id for this much longer than the registry its uid. The
two may go by different clocks, and the queue must not be the first to forget."""

_Add = Callable[..., None]

_log = structlog.get_logger(__name__)


class UidClaims:
    """Lets each uid be queued once, and again if the queue has lost its send.

    `store` is `None` where no store can remember a uid. `watch` knows the data of the
    queue; without it no loss is found.
    """

    def __init__(self, store: UidStore | None, watch: QueueWatch | None) -> None:
        self._store = store
        self._watch = watch

    async def take(self, request: SendRequest, now_ms: int, ttl_s: float) -> UidClaim:
        """The claim of the request's uid: its push id, and whether it was accepted.

        Raises `Conflict`, and the `BadRequest` of `find_expiry_fault` if the request
        is new.
        """
        print_of = fingerprint(request)
        fault = find_expiry_fault(request, now_ms)
        if self._store is None:
            if fault is not None:
                raise fault
            # The push id is made of content and uid, so the queue itself recognizes a
            # repeat. What goes unnoticed is the same uid with other content.
            name = hashlib.sha256(request.uid.encode() + b"\0" + print_of)
            return UidClaim(name.hexdigest()[:32], accepted=False)
        offered = uuid.uuid4().hex
        claim = await self._store.claim(
            request.uid,
            fingerprint=print_of,
            push_id=offered,
            # 0 only asks: a request that will be refused must not take the uid.
            ttl_s=0 if fault is not None else ttl_s,
        )
        # The offered id came back, so nobody had the uid before: the request is new.
        if fault is not None and claim.push_id == offered:
            raise fault
        return claim

    async def confirm(self, uid: str, claim: UidClaim) -> None:
        """Note that the work of the claim is queued, and which data has it."""
        if self._store is None:
            return
        epoch = await self._find_epoch()
        # A repeat whose send is in the same data has nothing new to note.
        if not claim.accepted or claim.epoch != epoch:
            await self._store.confirm(uid, epoch=epoch)

    def once_ttl_s(self, uid_ttl_s: float) -> float:
        """How long the queue has to know the send, in seconds."""
        return uid_ttl_s + (0 if self._store is None else ONCE_LONGER_S)

    async def may_be_lost(
        self, claim: UidClaim, request: SendRequest, now_ms: int
    ) -> bool:
        """Whether the queue has to be asked if it still has work that it accepted.

        That is so if the queue still holds the same data, or if other data replaced
        it. A queue that was moved to another place cannot tell: it knows nothing of
        what the old one accepted.
        """
        if self._watch is None or not claim.epoch:
            return False
        if request.expire_at_ms and request.expire_at_ms <= now_ms:
            return False  # nothing of it could be sent any more
        epoch = await self._watch.find_epoch()
        return claim.epoch == epoch or await self._watch.is_lost(claim.epoch)

    async def forget_data(self, uid: str) -> None:
        """Keep a cancelled send from looking lost: a repeat must not queue it again."""
        if self._store is None:
            return
        try:
            await self._store.confirm(uid, epoch="")
        except ApiError as error:
            # It is cancelled all the same. The note only matters if the queue loses
            # its data later.
            _log.debug("cancelled uid not noted", uid=uid, error=error.message)

    async def _find_epoch(self) -> str:
        """The epoch of the queue's data now; empty if it cannot be read."""
        if self._watch is None:
            return ""
        try:
            return await self._watch.find_epoch()
        except ApiError:
            return ""


def fingerprint(request: SendRequest) -> bytes:
    """SHA-256 over what the request asks for, without its uid.

    The order of lists, maps and JSON keys does not count, nor does the form of the
    API that the request came in. Options that are not set add nothing, so a repeat is
    still recognized by a newer release that has more options.
    """
    digest = hashlib.sha256()

    def add(*parts: str | bytes) -> None:
        # Each part with its length, so that no two lists of parts read alike.
        for part in parts:
            data = part if isinstance(part, bytes) else part.encode()
            digest.update(b"%d:" % len(data))
            digest.update(data)
        digest.update(b";")

    _add_recipient(add, request)
    for provider in sorted(request.bodies):
        body = request.bodies[provider]
        add("body", provider, canonical_body(body.message))
        for key in sorted(body.headers):
            add("header", key, body.headers[key])
    add("rest", str(request.expire_at_ms), request.analytics_uid, request.integration)
    _add_options(add, request)
    return digest.digest()


def _add_recipient(add: _Add, request: SendRequest) -> None:
    recipient = request.recipient
    if isinstance(recipient, RawRecipient):
        add("raw", recipient.provider, recipient.kind, *sorted(recipient.targets))
        return
    add("filter")
    for name in ("ids", "users", "topics", "providers", "platforms"):
        add(name, *sorted(getattr(recipient, name)))
    add("integrations", *sorted(recipient.integrations))
    for key in sorted(recipient.tags):
        add("tag", key, recipient.tags[key])
    pairs = {(g.provider, t) for g in recipient.provider_tokens for t in g.tokens}
    for pair in sorted(pairs):
        add("token", *pair)


def _add_options(add: _Add, request: SendRequest) -> None:
    if request.send_at_ms:
        add("send_at", str(request.send_at_ms))
    if request.reliable:
        add("reliable")
    if request.priority is not None:
        add("priority", request.priority)
    if (rate := request.rate) is not None:
        limits = sorted((limit.rate, limit.interval_ms) for limit in rate.limits)
        add("rate", rate.key, str(rate.drop), str(limits))
    if (window := request.window) is not None:
        numbers = (window.after_s, window.before_s, int(window.no_tz_send_now))
        add("window", str(numbers))
    if (first := request.online_first) is not None:
        add("online_first", first.channel, _canonical(first.data), first.b64data)
        add("wait", str(first.wait_ms))
        for key in sorted(first.tags):
            add("tag", key, first.tags[key])
    if (templating := request.templating) is not None:
        add("templating", str(templating.use_meta))
        for language in sorted(templating.localizations):
            texts = templating.localizations[language]
            add(
                "language",
                language,
                *(part for text in sorted(texts.items()) for part in text),
            )


def _canonical(data: bytes) -> bytes:
    try:
        return canonical_body(data)
    except ValueError:
        return data  # a channel carries any bytes
