"""Sections of the services whose messages are passed on as they are. Part of `config`.

It must not connect to any of them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from tocsin.config.fields import Duration, Int, Secret, Section, Text
from tocsin.config.origins import Origin

Connections = Annotated[Int, Field(ge=1, le=100)]


class Expo(Section):
    """Expo's push service."""

    access_token: Secret = SecretStr("")
    """needed where the Expo project asks for it (enhanced push security)"""
    endpoint: Origin = "https://exp.host"
    """origin only; the path is appended"""
    ca_file: Text = ""
    """PEM file added to the system's roots"""
    tokens_batch_size: Annotated[Int, Field(ge=1, le=100)] = 100
    """recipients per request"""
    max_connections: Connections = 6
    """requests under way at once per worker"""
    receipt_delay: Annotated[Duration, Field(ge=0.05, le=86_400)] = 900.0
    """after a send, and between two tries, before its receipts are asked for"""
