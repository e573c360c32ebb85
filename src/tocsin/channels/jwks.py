"""Published token keys (JWKS), kept for an hour. Part of `channels`.

It must not open connections: a `JwksFetcher` brings the documents.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import structlog

from tocsin.channels.claims import TokenInvalid
from tocsin.channels.signatures import PublishedKey
from tocsin.core.client_codes import INTERNAL, ClientFault
from tocsin.core.ports.channels import JwksFetcher, JwksUnavailable
from tocsin.core.ports.clock import Clock

TTL_MS = 3_600_000
PAUSE_MS = 1_000  # between two fetches of one document
# The URL may hold parts of a token that is not verified yet: forged tokens must not
# fill the memory.
MAX_URLS = 1_000
MAX_KEYS = 1_000  # of one document

_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_log = structlog.get_logger(__name__)


def fill_endpoint(template: str, groups: Mapping[str, str]) -> str:
    """The URL with `{{name}}` replaced; raises `TokenInvalid` when one is missing.

    The values come from a token that is not verified yet: whatever could leave
    the place in the URL that the configuration gave them is escaped or refused.
    """

    def value_of(match: re.Match[str]) -> str:
        value = groups.get(match[1], "")
        if not value or ".." in value:
            raise TokenInvalid(f"nothing usable for {{{{{match[1]}}}}}")
        return quote(value, safe="/:")

    return _PLACEHOLDER.sub(value_of, template)


class _Document:
    """The keys of one URL."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.keys: dict[str, tuple[int, PublishedKey]] = {}  # kid → until, key
        self.fetched_ms: int | None = None
        self.failed_ms: int | None = None
        self.failures = 0


class KeyCache:
    """Finds a key by `kid`; fetches a document once for all who wait for it.

    An unknown `kid`, or a key that does not fit, fetches again, but not within a
    second of the last try: forged tokens must not make this server flood the one that
    publishes the keys.
    """

    def __init__(self, fetcher: JwksFetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._documents: OrderedDict[str, _Document] = OrderedDict()

    async def fetch(
        self, url: str, kid: str, *, unlike: PublishedKey | None = None
    ) -> PublishedKey:
        """The key; raises `TokenInvalid` for an unknown one.

        `unlike` is a key that was found before and did not fit: another one may be
        published under its `kid` by now. If not, the same key is returned.

        Raises `ClientFault` (100, temporary) while the document cannot be had.
        """
        document = self._document(url)
        key = self._find(document, kid)
        if key is not None and key is not unlike:
            return key
        failures = document.failures
        # The lock lets one caller fetch; the others find the key when they get it. A
        # fetch that failed meanwhile failed for them too: not one try after the other.
        async with document.lock:
            key = self._find(document, kid)
            if key is None or key is unlike:
                if document.failures > failures or self._has_just_failed(document):
                    raise ClientFault(INTERNAL)
                if not self._is_fresh(document):
                    await self._refresh(url, document)
                    key = self._find(document, kid)
        if key is None:
            raise TokenInvalid("no key with this kid is published")
        return key

    def _document(self, url: str) -> _Document:
        document = self._documents.get(url)
        if document is None:
            document = self._documents[url] = _Document()
            if len(self._documents) > MAX_URLS:  # the one not used for longest goes
                self._documents.popitem(last=False)
        self._documents.move_to_end(url)
        return document

    def _find(self, document: _Document, kid: str) -> PublishedKey | None:
        until_ms, key = document.keys.get(kid, (0, None))
        return key if until_ms > self._clock.now_ms() else None

    def _is_fresh(self, document: _Document) -> bool:
        return self._is_recent(document.fetched_ms)

    def _has_just_failed(self, document: _Document) -> bool:
        return self._is_recent(document.failed_ms)

    def _is_recent(self, at_ms: int | None) -> bool:
        # The clock may have been set back since: then it is not recent either.
        return at_ms is not None and 0 <= self._clock.now_ms() - at_ms < PAUSE_MS

    async def _refresh(self, url: str, document: _Document) -> None:
        try:
            body = await self._fetcher.fetch(url)
        except JwksUnavailable as error:
            document.failures += 1
            document.failed_ms = self._clock.now_ms()
            _log.warning(
                "published token keys cannot be fetched; clients retry",
                endpoint=url,
                reason=str(error),
            )
            raise ClientFault(INTERNAL) from None
        now_ms = self._clock.now_ms()
        document.fetched_ms, document.failed_ms = now_ms, None
        keys = read_keys(body, url)
        if keys is not None:  # a broken document takes no known key away
            document.keys = {kid: (now_ms + TTL_MS, key) for kid, key in keys.items()}


def read_keys(body: bytes, url: str) -> dict[str, PublishedKey] | None:
    """`kid` → key of a document; keys that cannot be used are logged and left out.

    `None` for what is not a JWKS document.
    """
    try:
        document = json.loads(body)
        items: list[Any] = document["keys"]
        if not isinstance(items, list):
            raise TypeError  # noqa: TRY301 - joins the ways to be no document
    except (ValueError, TypeError, KeyError, RecursionError):
        _log.warning("published token keys are no JWKS document", endpoint=url)
        return None
    found: dict[str, PublishedKey] = {}
    for item in items[:MAX_KEYS]:
        kid = item.get("kid") if isinstance(item, dict) else None
        if not isinstance(kid, str):
            continue
        try:
            found[kid] = PublishedKey(item)
        except ValueError as error:
            _log.info(
                "a published token key is left out",
                endpoint=url,
                kid=kid[:80],
                reason=str(error),
            )
    return found
