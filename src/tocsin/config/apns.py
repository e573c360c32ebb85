"""The section of Apple's push service. Part of `config`.

It must not read the files that it names; whoever sends does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from tocsin.config.fields import (
    AnyText,
    FilePath,
    Identity,
    Int,
    Kind,
    NamesFile,
    Secret,
    Shown,
    Text,
)
from tocsin.config.service_section import ServiceSection
from tocsin.config.urls import split_url

ENVIRONMENTS = ("development", "production")


def _check_endpoint(value: str) -> str:
    value = value.strip()
    if value in ENVIRONMENTS:
        return value
    try:
        parts = split_url(value, "")
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good, parts = False, urlsplit("")
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if not good or more:
        raise ValueError(f"must be {', '.join(ENVIRONMENTS)} or an https origin")
    return value.rstrip("/")


_KEY = NamesFile("put it into a file and name that file here, or set token_key_pem")
_P12 = NamesFile("put it into a file and name that file here, or set cert_p12_b64")
KeyFile = Annotated[AnyText, AfterValidator(_KEY.check), _KEY]
P12File = Annotated[AnyText, AfterValidator(_P12.check), _P12]


class ApnsSection(ServiceSection):
    """Apple Push Notification service."""

    endpoint: Annotated[Text, AfterValidator(_check_endpoint)] = "development"
    """development, production, or an https origin; a token is good in one of them"""
    bundle_id: Text = ""
    """the app; goes out as apns-topic. A certificate of one app may name it instead"""
    auth_type: Annotated[
        Literal["token", "cert"] | None,
        Kind("string"),
        Shown("cert when a certificate is set, else token"),
    ] = None
    """token (a .p8 key) or cert (a .p12 certificate)"""
    token_key_file: KeyFile = ""
    """path of the .p8 key"""
    token_key_pem: Secret = SecretStr("")
    """the .p8 key itself: PEM text, base64 of it, or a path"""
    token_key_id: Identity = ""
    """the key's id, ten characters"""
    token_team_id: Identity = ""
    """the id of the developer team, ten characters"""
    cert_p12_file: P12File = ""
    """path of the .p12 certificate"""
    cert_p12_b64: Secret = SecretStr("")
    """the .p12 certificate in base64"""
    cert_p12_password: Secret = SecretStr("")
    """its password"""
    ca_file: FilePath = ""
    """PEM file added to the system's roots"""
    transport: Annotated[Literal["native", "sdk"], Kind("string")] = "native"
    """native: the fan-out engine; sdk: aioapns"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=10_000)] = 100
    """recipients per batch"""
    max_connections: Annotated[Int, Field(ge=1, le=100)] = 2
    """HTTP/2 connections per worker"""

    @property
    def resolved_auth_type(self) -> Literal["token", "cert"]:
        """`auth_type`, or what the other keys imply where it is absent."""
        if self.auth_type is not None:
            return self.auth_type
        cert = self.cert_p12_file or self.cert_p12_b64.get_secret_value()
        return "cert" if cert else "token"

    def find_missing(self, service: str) -> Iterator[tuple[str, str, str]]:
        """See `ServiceSection`; keys that contradict each other too."""
        if self.resolved_auth_type == "token":
            for key in ("bundle_id", "token_key_id", "token_team_id"):
                if not getattr(self, key):
                    yield key, f"must be set, since {service} signs with a key", ""
            yield from self._need_one("token_key_file", "token_key_pem", service)
        else:
            yield from self._need_one("cert_p12_file", "cert_p12_b64", service)

    def used_files(self) -> Iterator[tuple[str, str]]:
        """See `ServiceSection`: of the two credentials, those of the one in use."""
        is_cert = self.resolved_auth_type == "cert"
        unused = "token_key_file" if is_cert else "cert_p12_file"
        for key, name in super().used_files():
            if key != unused:
                yield key, name

    def _need_one(
        self, file: str, text: str, service: str
    ) -> Iterator[tuple[str, str, str]]:
        has_text = bool(getattr(self, text).get_secret_value())
        if getattr(self, file) and has_text:
            yield file, f"and {text} are both set; keep one", ""
        elif not (getattr(self, file) or has_text):
            yield file, f"or {text} must be set, since {service} is enabled", ""
