"""Section of Firebase Cloud Messaging. Part of `config`.

It must not read the service account file: the adapter does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from tocsin.config.fields import FilePath, Int, Kind
from tocsin.config.origins import Origin
from tocsin.config.service_section import ServiceSection


class FcmSection(ServiceSection):
    """Firebase Cloud Messaging."""

    credentials_file: FilePath = ""
    """service account JSON; its token_uri is honoured (http on loopback only)"""
    endpoint: Origin = "https://fcm.googleapis.com"
    """origin only; the path is appended"""
    ca_file: FilePath = ""
    """PEM file added to the system's roots, for the token endpoint too"""
    transport: Annotated[Literal["native", "sdk"], Kind("string")] = "native"
    """native: the fan-out engine; sdk: firebase-admin"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=10_000)] = 500
    """recipients per batch"""
    max_connections: Annotated[Int, Field(ge=1, le=100)] = 2
    """HTTP/2 connections per worker"""

    def find_missing(self, service: str) -> Iterator[tuple[str, str, str]]:
        """See `ServiceSection`."""
        if not self.credentials_file:
            key = "credentials_file"
            words = f"must name the service account file, since {service} is enabled"
            yield key, words, key
