"""The configuration keys of Tocsin that lead to a running simulator.

It only names what the simulator has; it must import no other room of the product.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tocsin.simulator import (
    expo,
    hms,
    one_signal,
    push_webhook,
    pusher_beams,
    pushpad,
)
from tocsin.simulator.certificates import write_private
from tocsin.simulator.server import Simulator
from tocsin.simulator.webpush import make_vapid_keys

_VAPID_FILE = "vapid.json"


def push_notifications(simulator: Simulator, directory: str | Path) -> dict[str, Any]:
    """The section `push_notifications` with every imitated service, paths absolute.

    The VAPID key of an earlier run in `directory` is kept, so that a written
    configuration stays good.
    """
    at = {"endpoint": simulator.origin, "ca_file": _absolute(simulator.ca_file)}
    return {
        "enabled_providers": [
            *("fcm", "apns", "hms", "webpush", "expo", "one-signal"),
            *("push-webhook", "pusher-beams", "pushpad"),
        ],
        "fcm": {"credentials_file": _absolute(simulator.service_account_file), **at},
        "apns": {
            "bundle_id": simulator.apns_bundle_id,
            "auth_type": "token",
            "token_key_file": _absolute(simulator.apns_key_file),
            "token_key_id": simulator.apns_key_id,
            "token_team_id": simulator.apns_team_id,
            "endpoint": simulator.apns_origin,
            "ca_file": at["ca_file"],
        },
        "hms": {
            "app_id": hms.APP_ID,
            "app_secret": hms.APP_SECRET,
            "auth_endpoint": simulator.origin,
            "push_endpoint": simulator.origin,
            "ca_file": at["ca_file"],
        },
        "webpush": {
            **_vapid(Path(directory)),
            "subject": "mailto:ops@example.com",
            "allowed_endpoint_origins": [simulator.origin],
            "allow_private_addresses": True,
            "ca_file": at["ca_file"],
        },
        "expo": {"access_token": expo.ACCESS_TOKEN, **at},
        "one_signal": {
            "app_id": one_signal.APP_ID,
            "api_key": one_signal.API_KEY,
            **at,
        },
        "push_webhook": {
            "url": simulator.origin + push_webhook.PATH,
            "secret": push_webhook.SECRET,
            "ca_file": at["ca_file"],
        },
        "pusher_beams": {
            "instance_id": pusher_beams.INSTANCE_ID,
            "secret_key": pusher_beams.SECRET_KEY,
            **at,
        },
        "pushpad": {
            "auth_token": pushpad.AUTH_TOKEN,
            "project_id": pushpad.PROJECT_ID,
            **at,
        },
    }


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def _vapid(directory: Path) -> dict[str, str]:
    file = directory / _VAPID_FILE
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return {
            name: str(kept[name]) for name in ("vapid_public_key", "vapid_private_key")
        }
    except (OSError, ValueError, KeyError, TypeError):
        public, private = make_vapid_keys()
        made = {"vapid_public_key": public, "vapid_private_key": private}
        write_private(file, json.dumps(made).encode())
        return made
