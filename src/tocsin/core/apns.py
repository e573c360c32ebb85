"""What Apple's push service takes as headers of a notification. Pure rules, no I/O.

Used where a send is accepted and where it is sent, so that both agree.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping

from tocsin.core.push_services import InvalidHeader

PUSH_TYPES: Mapping[str, str] = {
    "alert": "",
    "background": "",
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "mdm": "",
    "location": ".location-query",
    "liveactivity": ".push-type.liveactivity",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
    "controls": ".push-type.controls",
}
"""Values of apns-push-type, and what each appends to the bundle id in apns-topic."""

PAYLOAD_BYTES = 4096
VOIP_PAYLOAD_BYTES = 5120
PRIORITIES = ("10", "5", "1")
COLLAPSE_ID_BYTES = 64
_TOPIC_BYTES = 255
_LAST_SECOND = 253_402_300_799
"""The end of the year 9999: above it a time is not in Unix seconds."""
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
_TOPIC = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


def _invalid(name: str, reason: str) -> InvalidHeader:
    """A header that Apple would refuse; `name` is as it was written."""
    place = f"[{json.dumps(name)}]"
    return InvalidHeader(name, reason, place=place, text=f"{name}: {reason}")


def payload_limit(headers: Mapping[str, str]) -> int:
    """Bytes that Apple takes as payload of a notification with these headers."""
    voip = any(
        name.lower() == "apns-push-type" and value == "voip"
        for name, value in headers.items()
    )
    return VOIP_PAYLOAD_BYTES if voip else PAYLOAD_BYTES


def parse_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with names in lower case; raises `InvalidHeader`."""
    parsed: dict[str, str] = {}
    for name, value in headers.items():
        lowered = name.lower()
        check = _CHECKS.get(lowered)
        if check is None:
            raise _invalid(name, f"is none of {', '.join(_CHECKS)}")
        if lowered in parsed:
            raise _invalid(name, "is there twice, in two spellings")
        reason = check(value)
        if reason:
            raise _invalid(name, reason)
        parsed[lowered] = value
    push_type, priority = parsed.get("apns-push-type"), parsed.get("apns-priority")
    # Apple refuses this pair; without a priority, 5 is added when it is sent.
    if push_type == "background" and priority == "10":
        name = next(name for name in headers if name.lower() == "apns-priority")
        raise _invalid(name, "must be 5 or 1, since apns-push-type is background")
    return parsed


def _check_id(value: str) -> str:
    try:
        right = str(uuid.UUID(value)) == value.lower()
    except ValueError:
        right = False
    return (
        "" if right else "must be a UUID such as 123e4567-e89b-12d3-a456-426655440000"
    )


def _check_expiration(value: str) -> str:
    if _SECONDS.fullmatch(value) and int(value) <= _LAST_SECOND:
        return ""
    return "must be Unix seconds, or 0 for now or never"


def _check_priority(value: str) -> str:
    return "" if value in PRIORITIES else f"must be one of {', '.join(PRIORITIES)}"


def _check_push_type(value: str) -> str:
    return "" if value in PUSH_TYPES else f"must be one of {', '.join(PUSH_TYPES)}"


def _check_topic(value: str) -> str:
    if _TOPIC.fullmatch(value) and len(value) <= _TOPIC_BYTES:
        return ""
    return "must be a bundle id, with a suffix where the push type needs one"


def _check_collapse_id(value: str) -> str:
    if 0 < len(value.encode()) <= COLLAPSE_ID_BYTES and value == value.strip():
        return ""
    return f"must be 1 to {COLLAPSE_ID_BYTES} bytes, without spaces around it"


_CHECKS = {
    "apns-topic": _check_topic,
    "apns-push-type": _check_push_type,
    "apns-priority": _check_priority,
    "apns-expiration": _check_expiration,
    "apns-collapse-id": _check_collapse_id,
    "apns-id": _check_id,
}
"""Every header of a notification; a rule says what is wrong with a value, or ""."""
