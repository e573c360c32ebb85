"""Push room: the rules for values of callers, one function for each rule.

A rule raises `BadRequest` with the field's path and never repeats the value, which
may be a token. Pure, except for the time zone database and the log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import structlog

from tocsin.core.device import (
    PLATFORMS,
    DeviceFilter,
    PageRequest,
    ProviderTokens,
    TopicOp,
    TopicsChange,
)
from tocsin.core.errors import BadRequest
from tocsin.core.ids import is_id
from tocsin.core.locales import usable_locale
from tocsin.core.push_services import SERVICES
from tocsin.core.timezones import usable_timezone

NAME_LENGTH = 255
"""Cap of users, uids, integrations and map keys, in bytes of UTF-8."""
META_VALUE_LENGTH = 4096
TAG_VALUE_LENGTH = 255
MAP_ENTRIES = 100
"""Cap of entries in one device's meta or tags."""
DEFAULT_PAGE = 100
NO_INTEGRATION = "no integration of that name is configured"

_LOCALE = re.compile(r"(?:[A-Za-z]{2,8}|[XxIi])(?:[-_][A-Za-z0-9]{1,8})*", re.ASCII)
_LOCALE_LENGTH = 64

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class DeviceLimits:
    """Caps from the configuration; lengths and sizes are bytes of UTF-8.

    Services that share one check by its numbers of the moment. `payload_size` is the
    limit of one body.
    """

    token_length: int = 4096
    topic_length: int = 255
    topics_per_device: int = 1000
    page_size: int = 1000
    payload_size: int = 65_536

    def take(self, other: DeviceLimits) -> None:
        """Be as the other one from now on."""
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a listing callers ask for; `since` is the old name of `cursor`."""

    cursor: str = ""
    since: str = ""
    limit: int = 0
    include_total: bool = False


def check_text(
    field: str, value: str, limit: int, *, required: bool = True, what: str = ""
) -> None:
    """Check text that every store and queue can hold: UTF-8 without NUL, not too long.

    `limit` is bytes. `what` names the part of the field that is meant, such as `key `.
    """
    if not value:
        if required:
            raise BadRequest(field, f"{what}must not be empty")
        return
    if value.isascii():
        size = len(value)
    else:
        try:
            size = len(value.encode())
        except UnicodeEncodeError:
            raise BadRequest(field, f"{what}must be valid Unicode text") from None
    if size > limit:
        raise BadRequest(field, f"{what}must be at most {limit} bytes long, has {size}")
    if "\0" in value:
        raise BadRequest(field, f"{what}must not contain NUL characters")


def check_texts(
    field: str, values: Sequence[str], limit: int, *, required: bool = True
) -> tuple[str, ...]:
    """`check_text` for each; the index is named. Doubled values are merged."""
    # Most are plain ASCII within the limit, and need no call.
    for index, value in enumerate(values):
        if not value or len(value) > limit or "\0" in value or not value.isascii():
            check_text(f"{field}[{index}]", value, limit, required=required)
    return tuple(dict.fromkeys(values))


def check_choice(field: str, value: str, choices: Collection[str]) -> None:
    """One of a closed set of words."""
    if value not in choices:
        reason = f"must be one of {', '.join(choices)}"
        raise BadRequest(field, reason if value else f"must not be empty, {reason}")


def check_choices(
    field: str, values: Sequence[str], choices: Collection[str]
) -> tuple[str, ...]:
    """`check_choice` for each; the index is named. Doubled values are merged."""
    for index, value in enumerate(values):
        check_choice(f"{field}[{index}]", value, choices)
    return tuple(dict.fromkeys(values))


def check_id(field: str, value: str) -> None:
    """An id that a server made."""
    if not is_id(value):
        raise BadRequest(field, "is not an id made by this server")


def check_provider(field: str, value: str) -> None:
    """A known provider, enabled or not."""
    check_choice(field, value, SERVICES)


def read_platform(field: str, value: str) -> str:
    """A known platform; phones and their libraries call it iOS, IOS or Android."""
    platform = value.lower()
    check_choice(field, platform, PLATFORMS)
    return platform


def read_platforms(field: str, values: Sequence[str]) -> tuple[str, ...]:
    """`read_platform` for each; the index is named. Doubled values are merged."""
    each = (read_platform(f"{field}[{n}]", value) for n, value in enumerate(values))
    return tuple(dict.fromkeys(each))


def check_topics(
    field: str, topics: Sequence[str], limits: DeviceLimits
) -> tuple[str, ...]:
    """The topics of one device or user, doubled ones merged."""
    merged = check_texts(field, topics, limits.topic_length)
    if len(merged) > limits.topics_per_device:
        raise BadRequest(
            field, f"must be at most {limits.topics_per_device}, are {len(merged)}"
        )
    return merged


def check_topics_change(
    field: str, change: TopicsChange, limits: DeviceLimits
) -> TopicsChange:
    """One operation on topics; `field` is the path of the list."""
    return TopicsChange(change.op, check_topics(field, change.topics, limits))


def parse_op(field: str, value: str, default: TopicOp | None = None) -> TopicOp:
    """`add`, `remove` or `set`; empty means `default` where there is one."""
    if not value and default is not None:
        return default
    check_choice(field, value, tuple(TopicOp))
    return TopicOp(value)


def _check_map(field: str, entries: Mapping[str, str], value_limit: int) -> None:
    if len(entries) > MAP_ENTRIES:
        raise BadRequest(
            field, f"must have at most {MAP_ENTRIES} entries, has {len(entries)}"
        )
    for key, value in entries.items():
        check_text(field, key, NAME_LENGTH, what="key ")
        check_text(entry(field, key), value, value_limit, required=False)


def entry(field: str, key: str) -> str:
    """The path of a map's entry; the key must have been checked."""
    return f"{field}[{json.dumps(key)}]"


def check_meta(field: str, meta: Mapping[str, str]) -> None:
    """Free metadata of a device."""
    _check_map(field, meta, META_VALUE_LENGTH)


def check_tags(field: str, tags: Mapping[str, str]) -> None:
    """Indexed key and value pairs of a device."""
    _check_map(field, tags, TAG_VALUE_LENGTH)


def check_integration(field: str, name: str, known: Collection[str]) -> None:
    """Empty, or the identifier of a configured integration."""
    check_text(field, name, NAME_LENGTH, required=False)
    if name and name not in known:
        raise BadRequest(field, NO_INTEGRATION)


def read_timezone(field: str, text: str) -> str:
    """The name of the time zone that a device reports, or empty if it is unusable.

    No device is refused for it: it is stored like one that reports no zone.
    """
    usable = usable_timezone(text)
    if text and not usable:
        _report_unusable(field, text)
    return usable


def read_locale(field: str, text: str) -> str:
    """The language tag that a device reports, or empty; as `read_timezone`."""
    usable = usable_locale(text)
    if text and not usable:
        _report_unusable(field, text)
    return usable


def _report_unusable(field: str, text: str) -> None:
    _log.debug("value not usable, left empty", field=field, value=ascii(text[:40]))


def check_locale(field: str, tag: str) -> None:
    """Empty, or shaped like a BCP 47 tag; `_` is taken for `-`, as Java writes it."""
    if not tag:
        return
    check_text(field, tag, _LOCALE_LENGTH)
    if not _LOCALE.fullmatch(tag):
        raise BadRequest(field, "is not a language tag such as pt-BR")


def check_page(paging: Paging, limits: DeviceLimits) -> PageRequest:
    """The page to read: `limit` 0 is the default, one above the cap becomes the cap."""
    cursor = paging.cursor or paging.since
    if paging.cursor and paging.since and paging.cursor != paging.since:
        raise BadRequest("since", "must equal cursor when both are given")
    if cursor and not is_id(cursor):
        field = "cursor" if paging.cursor else "since"
        raise BadRequest(field, "is not the id of a row of the page before")
    if paging.limit < 0:
        raise BadRequest("limit", "must not be negative")
    limit = min(paging.limit or DEFAULT_PAGE, limits.page_size)
    return PageRequest(cursor=cursor, limit=limit, include_total=paging.include_total)


def merge(first: Iterable[str], second: Iterable[str]) -> tuple[str, ...]:
    """The union of two lists in order of appearance."""
    return tuple(dict.fromkeys((*first, *second)))


def join_prefix(first: str, second: str) -> str:
    """The prefix, which must be the same if it is given in both forms."""
    if first and second and first != second:
        raise BadRequest(
            "topic_prefix", "must equal filter.topic_prefix when both are given"
        )
    return first or second


def token_limit(provider: str, limits: DeviceLimits) -> int:
    """Cap of one provider's token in bytes."""
    return SERVICES[provider].tokens.length_factor * limits.token_length


def check_device_filter(
    filter: DeviceFilter,
    limits: DeviceLimits,
    *,
    prefix: str,
    spelled: Mapping[str, str] | None = None,
    users_required: bool = False,
) -> DeviceFilter:
    """A filter with doubled values merged.

    `prefix` comes before each field's name in errors; `spelled` renames fields
    that the caller wrote in another form. With `users_required` an empty user
    is refused: in a send or a removal the caller most likely lost a value.
    """
    names = spelled or {}

    def path(field: str) -> str:
        return names.get(field, prefix + field)

    check_tags(path("tags"), filter.tags)
    return DeviceFilter(
        ids=check_texts(path("ids"), filter.ids, NAME_LENGTH),
        users=check_texts(
            path("users"), filter.users, NAME_LENGTH, required=users_required
        ),
        topics=check_texts(path("topics"), filter.topics, limits.topic_length),
        providers=check_choices(path("providers"), filter.providers, SERVICES),
        platforms=read_platforms(path("platforms"), filter.platforms),
        provider_tokens=check_provider_tokens(
            path("provider_tokens"), filter.provider_tokens, limits
        ),
        tags=filter.tags,
        integrations=check_texts(
            path("integrations"), filter.integrations, NAME_LENGTH
        ),
    )


def check_provider_tokens(
    field: str, groups: Sequence[ProviderTokens], limits: DeviceLimits
) -> tuple[ProviderTokens, ...]:
    """Tokens that select devices, in the form in which they are stored."""
    checked = []
    for index, group in enumerate(groups):
        check_provider(f"{field}[{index}].provider", group.provider)
        path = f"{field}[{index}].tokens"
        if not group.tokens:
            raise BadRequest(path, "must not be empty")
        tokens = check_texts(path, group.tokens, token_limit(group.provider, limits))
        rules = SERVICES[group.provider].tokens
        tokens = tuple(map(rules.selected, tokens))
        # Both as written and normalised: an older release stored what was written.
        same = map(rules.comparable, tokens)
        checked.append(ProviderTokens(group.provider, merge(tokens, same)))
    return tuple(checked)
