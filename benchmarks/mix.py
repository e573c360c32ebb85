"""One send to devices of all four big providers: FCM, APNs, HMS and Web Push.

The deployment is that of `end_to_end.py`, and so is the sink, which answers for all
four. A send becomes a walk per provider, so a slow one holds up no other: the table
says when each had its last device.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from tests.support.fill import fill_postgres

from benchmarks import apns, hms, webpush
from benchmarks.end_to_end import (
    KEY,
    MESSAGE,
    TOPIC,
    Push,
    deployed,
    usage,
    write_service_account,
)
from benchmarks.sink import WPUSH_PATH, Sink
from tocsin.protocol import api_pb2, api_pb2_grpc

DEVICES = {"fcm": 40_000, "apns": 40_000, "hms": 10_000, "webpush": 10_000}
DEADLINE_S = 150.0
_COUNT = "centrifugo_push_notification_count{"


def _push(target: Sink, folder: Path) -> Push:
    key = ec.generate_private_key(ec.SECP256R1())
    p8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public, private = webpush.make_pair()
    origin, ca_file = target.origin, {"ca_file": target.ca_file}
    account = write_service_account(folder, f"{origin}/token")
    return {
        "enabled_providers": list(DEVICES),
        "fcm": {"credentials_file": str(account), "endpoint": origin, **ca_file},
        "apns": {
            "endpoint": origin,
            "bundle_id": apns.TOPIC,
            "token_key_pem": p8.decode(),
            "token_key_id": apns.KEY_ID,
            "token_team_id": apns.TEAM_ID,
            **ca_file,
        },
        "hms": {
            "app_id": hms.APP_ID,
            "app_secret": "bench",
            "auth_endpoint": origin,
            "push_endpoint": origin,
            **ca_file,
        },
        "webpush": {
            "vapid_public_key": public,
            "vapid_private_key": private,
            "subject": webpush.SUBJECT,
            "allowed_endpoint_origins": [origin],
            "allow_private_addresses": True,
            **ca_file,
        },
    }


def _tokens(origin: str) -> dict[str, Callable[[int], str]]:
    tail = secrets.token_urlsafe(96)
    endpoint = f"{origin}{WPUSH_PATH}v2/{tail[:100]}"
    return {
        "fcm": lambda number: f"{number:022d}:APA91b{tail[:120]}",
        "apns": lambda number: f"{number:064x}",
        "hms": lambda number: f"{number:010d}{tail[:120]}",
        "webpush": lambda number: f"{endpoint}{number:020d}",
    }


def _fill(dsn: str, target: Sink) -> None:
    keys = {
        "p256dh": webpush.make_pair()[0],
        "auth": secrets.token_urlsafe(16),
    }
    for provider, token in _tokens(target.origin).items():
        fill_postgres(
            dsn,
            [token(number) for number in range(DEVICES[provider])],
            TOPIC,
            provider=provider,
            webpush_keys=json.dumps(keys) if provider == "webpush" else "",
        )


def _notification() -> api_pb2.PushNotification:
    return api_pb2.PushNotification(
        fcm=api_pb2.FcmPushNotification(message=json.dumps(MESSAGE).encode()),
        hms=api_pb2.HmsPushNotification(message=hms.MESSAGE.encode()),
        apns=api_pb2.ApnsPushNotification(payload=json.dumps(apns.payload()).encode()),
        webpush=api_pb2.WebPushPushNotification(payload=webpush.PAYLOAD),
    )


def _send(port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = api_pb2.SendPushNotificationRequest(
            recipient=api_pb2.PushRecipient(
                filter=api_pb2.DeviceFilter(topics=[TOPIC])
            ),
            notification=_notification(),
        )
        make_stub: Any = api_pb2_grpc.CentrifugoApiStub
        answer = make_stub(channel).SendPushNotification(
            request, metadata=(("authorization", f"apikey {KEY}"),)
        )
    if answer.error.code:
        raise RuntimeError(f"the send was refused: {answer.error}")


def _count(ports: list[int]) -> tuple[dict[str, float], dict[str, float]]:
    """Delivered, and failed, by provider, as all workers have counted."""
    delivered, failed = dict.fromkeys(DEVICES, 0.0), dict.fromkeys(DEVICES, 0.0)
    for port in ports:
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        for line in lines:
            if not line.startswith(_COUNT):
                continue
            labels, _, value = line.rpartition(" ")
            provider = labels.partition('provider="')[2].partition('"')[0]
            counts = delivered if 'err_code=""' in labels else failed
            counts[provider] += float(value)
    return delivered, failed


def _wait(ports: list[int], started: float) -> dict[str, float]:
    """Seconds until each provider's last device; RuntimeError where one fails."""
    finished: dict[str, float] = {}
    delivered: dict[str, float] = {}
    while len(finished) < len(DEVICES):
        delivered, failed = _count(ports)
        passed_s = time.perf_counter() - started
        if any(failed.values()):
            raise RuntimeError(f"pushes failed: {failed}")
        for provider, wanted in DEVICES.items():
            if delivered[provider] >= wanted:
                finished.setdefault(provider, passed_s)
        if passed_s > DEADLINE_S:
            raise RuntimeError(f"not all were sent in time: {delivered}")
        time.sleep(0.1)
    if delivered != DEVICES:
        raise RuntimeError(f"something was sent twice: {delivered}")
    return finished


def run() -> dict[str, Any]:
    """One measured send; seconds per provider, and the whole."""
    with deployed(_push, _fill) as deployment:
        before = [usage(pid).cpu_s for pid in deployment.pids.values()]
        started = time.perf_counter()
        _send(deployment.grpc)
        finished = _wait(deployment.workers, started)
        after = [usage(pid).cpu_s for pid in deployment.pids.values()]
        devices = sum(DEVICES.values())
        return {
            "sink": deployment.sink.name,
            "devices": devices,
            "providers": {
                provider: {"devices": DEVICES[provider], "finished_s": seconds}
                for provider, seconds in finished.items()
            },
            "pushes_per_s": devices / max(finished.values()),
            "cpu_us_per_push": (sum(after) - sum(before)) / devices * 1e6,
            "processors": os.cpu_count(),
        }


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
