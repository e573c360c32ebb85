"""What both FCM providers check of their settings before anything is sent.

It must not connect anywhere: a worker starts while FCM is away.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from tocsin.config.urls import mask_url
from tocsin.providers.errors import ProviderSetupError

SECTION = "push_notifications.fcm"
CREDENTIALS_KEY = f"{SECTION}.credentials_file"


def check_endpoint(endpoint: str) -> str:
    """The endpoint as an origin; raises `ProviderSetupError` if it is not one."""
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.hostname or parts.path.strip("/"):
        raise ProviderSetupError(
            f"{SECTION}.endpoint",
            f"{mask_url(endpoint)} is no origin such as https://fcm.googleapis.com",
        )
    return f"https://{parts.netloc}"
