"""Addresses of services: origins, and whole URLs. Part of `config`.

It must not resolve or call any of them.
"""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from tocsin.config.fields import Text
from tocsin.config.placeholders import refuse_placeholder
from tocsin.config.urls import split_url


def check_origin(value: str) -> str:
    """An origin without a path, https or on loopback; raises ValueError."""
    value = value.strip()
    try:
        parts = split_url(value, "")
        host = parts.hostname or ""
        bad = parts.port == 0 or not host
    except ValueError:
        bad, host, parts = True, "", urlsplit("")
    if bad or parts.scheme not in ("http", "https"):
        raise ValueError("must be an origin such as https://fcm.googleapis.com")
    more = parts.query or parts.fragment or "@" in parts.netloc
    if parts.path not in ("", "/") or more:
        raise ValueError("must be an origin only: the path is appended")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("must be https: access tokens travel on it")
    return value.rstrip("/")


def _check_url(value: str) -> str:
    value = refuse_placeholder(value.strip())
    try:
        parts = split_url(value, "")
        bad = parts.port == 0 or not parts.hostname
    except ValueError:
        bad, parts = True, urlsplit("")
    if value and (bad or parts.scheme not in ("http", "https")):
        raise ValueError("must be a URL such as https://example.com/push")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Origin = Annotated[Text, AfterValidator(check_origin)]
OptionalOrigin = Annotated[
    Text, AfterValidator(lambda value: check_origin(value) if value.strip() else "")
]
"""Empty where another key decides."""
Url = Annotated[Text, AfterValidator(_check_url)]
