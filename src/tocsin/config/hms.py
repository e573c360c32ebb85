"""Section of Huawei Push Kit. Part of `config`; it must not connect to it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from tocsin.config.fields import FilePath, Identity, Int, Secret
from tocsin.config.origins import Origin
from tocsin.config.service_section import ServiceSection


class HmsSection(ServiceSection):
    """Huawei Push Kit."""

    NEEDED = ("app_id", "app_secret")

    app_id: Identity = ""
    """the application's id, which is its OAuth client id"""
    app_secret: Secret = SecretStr("")
    """the application's secret"""
    project_id: Identity = ""
    """given: send through the v2 API of this project"""
    auth_endpoint: Origin = "https://oauth-login.cloud.huawei.com"
    """origin only; the path is appended"""
    push_endpoint: Origin = "https://push-api.cloud.huawei.com"
    """origin only; the path is appended"""
    ca_file: FilePath = ""
    """PEM file added to the system's roots, for both endpoints"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=1000)] = 1000
    """recipients per request"""
    max_connections: Annotated[Int, Field(ge=1, le=100)] = 8
    """requests under way at once per worker"""
