"""What both FCM providers check of their settings before anything is sent.

It must not connect anywhere: a worker starts while FCM is away.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from tocsin.config.showing import show_path
from tocsin.config.urls import mask_url
from tocsin.http2 import build_ssl_context
from tocsin.providers.errors import ProviderSetupError

SECTION = "push_notifications.fcm"
CREDENTIALS_KEY = f"{SECTION}.credentials_file"


def check_endpoint(endpoint: str) -> str:
    """The endpoint as an origin; raises `ProviderSetupError` where it is none."""
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/"):
        raise ProviderSetupError(
            f"{SECTION}.endpoint",
            f"{mask_url(endpoint)} is no origin such as https://fcm.googleapis.com",
        )
    return f"https://{parts.netloc}"


def load_trust(ca_file: str) -> ssl.SSLContext:
    """System roots and `ca_file`; raises `ProviderSetupError` where it is no PEM."""
    try:
        return build_ssl_context(ca_file)
    except (OSError, ValueError) as error:  # ssl.SSLError is one
        raise ProviderSetupError(
            f"{SECTION}.ca_file", f"cannot use {show_path(ca_file)}: {_why(error)}"
        ) from None


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) else "not a path"
