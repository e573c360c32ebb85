"""Sections of the services whose messages are passed on as they are. Part of `config`.

It must not connect to any of them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from tocsin.config.fields import (
    Duration,
    FilePath,
    Holds,
    Identity,
    Int,
    Kind,
    Secret,
    Shown,
)
from tocsin.config.origins import OptionalOrigin, Origin, Url
from tocsin.config.service_section import ServiceSection

Connections = Annotated[Int, Field(ge=1, le=100)]


class ExpoSection(ServiceSection):
    """Expo's push service."""

    KEPT = ServiceSection.KEPT | {"receipt_delay"}

    access_token: Secret = SecretStr("")
    """needed where the Expo project asks for it (enhanced push security)"""
    endpoint: Origin = "https://exp.host"
    """origin only; the path is appended"""
    ca_file: FilePath = ""
    """PEM file added to the system's roots"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=100)] = 100
    """recipients per request"""
    max_connections: Connections = 6
    """requests under way at once per worker"""
    receipt_delay: Annotated[Duration, Field(ge=0.05, le=86_400)] = 900.0
    """after a send, and between two tries, before its receipts are asked for"""


class OneSignalSection(ServiceSection):
    """OneSignal."""

    NEEDED = ("app_id", "api_key")

    app_id: Identity = ""
    """the application's id"""
    api_key: Secret = SecretStr("")
    """the application's REST API key"""
    api_version: Annotated[Literal["playerModel", "externalId"], Kind("string")] = (
        "playerModel"
    )
    """what a token is: playerModel: a subscription id; externalId: an external id"""
    endpoint: Annotated[
        OptionalOrigin,
        Shown(
            "https://onesignal.com; with externalId https://api.onesignal.com",
        ),
    ] = ""
    """origin only; the path is appended"""
    ca_file: FilePath = ""
    """PEM file added to the system's roots"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=2000)] = 1000
    """recipients per request"""
    max_connections: Connections = 4
    """requests under way at once per worker"""


class PushWebhookSection(ServiceSection):
    """An HTTP endpoint of your own."""

    NEEDED = ("url", "secret")

    url: Annotated[Url, Holds(), Field(repr=False)] = ""
    """where each recipient's message is posted"""
    secret: Secret = SecretStr("")
    """key of the HMAC-SHA256 in the header X-Novu-Signature"""
    ca_file: FilePath = ""
    """PEM file added to the system's roots"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=10_000)] = 100
    """recipients per batch; each one is a request of its own"""
    max_connections: Connections = 16
    """requests under way at once per worker"""


class PusherBeamsSection(ServiceSection):
    """Pusher Beams."""

    NEEDED = ("instance_id", "secret_key")

    instance_id: Identity = ""
    """the instance's id"""
    secret_key: Secret = SecretStr("")
    """the instance's secret key"""
    endpoint: Annotated[
        OptionalOrigin,
        Shown("https://<instance_id>.pushnotifications.pusher.com"),
    ] = ""
    """origin only; the path is appended"""
    ca_file: FilePath = ""
    """PEM file added to the system's roots"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=1000)] = 1000
    """recipients per request"""
    max_connections: Connections = 4
    """requests under way at once per worker"""


class PushpadSection(ServiceSection):
    """Pushpad."""

    NEEDED = ("auth_token", "project_id")

    auth_token: Secret = SecretStr("")
    """the access token of the account"""
    project_id: Identity = ""
    """the project's id"""
    endpoint: Origin = "https://pushpad.xyz"
    """origin only; the path is appended"""
    ca_file: FilePath = ""
    """PEM file added to the system's roots"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=1000)] = 1000
    """recipients per request"""
    max_connections: Connections = 4
    """requests under way at once per worker"""
