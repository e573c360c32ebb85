"""The services that take raw bodies: how they are built, what their faults mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.expo import ExpoProvider
from tocsin.providers.one_signal import OneSignalProvider
from tocsin.providers.push_webhook import PushWebhookProvider
from tocsin.providers.pusher_beams import PusherBeamsProvider
from tocsin.providers.pushpad import PushpadProvider
from tocsin.simulator import expo, one_signal, push_webhook, pusher_beams, pushpad
from tocsin.simulator.server import Simulator

R, M = Verdict.RETRY, Verdict.MISCONFIGURED
SENT = Outcome(Verdict.DELIVERED)

EXPO_FAULTS: Mapping[str, Outcome] = {
    "device": SENT,
    "dead": SENT,  # its receipt says so
    "badtoken": Outcome(Verdict.UNREGISTERED, "unregistered"),
    "badfield": Outcome(Verdict.UNREGISTERED, "unregistered"),
    "badpayload": Outcome(Verdict.REJECTED, "invalid_message"),
    "toobig": Outcome(Verdict.REJECTED, "payload_too_large"),
    "mismatch": SENT,
    "thirdparty": SENT,
    "denied": Outcome(M, "unauthenticated", slow_down=True),
    "lost": Outcome(M, "not_found", slow_down=True),
    "quota": SENT,
    "quotasec": Outcome(R, "quota_exceeded", retry_after_s=7, slow_down=True),
    "quotadate": Outcome(R, "quota_exceeded", retry_after_s=30, slow_down=True),
    "projectquota": Outcome(R, "quota_exceeded", retry_after_s=60, slow_down=True),
    "unavailable": Outcome(R, "unavailable", retry_after_s=2),
    "internal": Outcome(R, "internal"),
    "html": Outcome(R, "bad_gateway"),
    "gateway": Outcome(R, "gateway_timeout"),
    "flaky": Outcome(R, "unavailable"),
    "slow20": SENT,
}


def build_expo(simulator: Simulator, **options: Any) -> ExpoProvider:
    """Expo at the simulator, with the access token that it knows."""
    given = {"access_token": expo.ACCESS_TOKEN, **options}
    return ExpoProvider(endpoint=simulator.origin, ca_file=simulator.ca_file, **given)


_BY_STATUS: Mapping[str, Outcome] = {
    "device": SENT,
    "badpayload": Outcome(Verdict.REJECTED, "invalid_message"),
    "toobig": Outcome(Verdict.REJECTED, "payload_too_large"),
    "mismatch": Outcome(M, "permission_denied", slow_down=True),
    "thirdparty": Outcome(M, "payment_required", slow_down=True),
    "denied": Outcome(M, "permission_denied", slow_down=True),
    "expired": Outcome(M, "unauthenticated", slow_down=True),
    "lost": Outcome(M, "not_found", slow_down=True),
    "quota": Outcome(R, "quota_exceeded", retry_after_s=60, slow_down=True),
    "quotasec": Outcome(R, "quota_exceeded", retry_after_s=7, slow_down=True),
    "quotadate": Outcome(R, "quota_exceeded", retry_after_s=30, slow_down=True),
    "projectquota": Outcome(R, "quota_exceeded", retry_after_s=60, slow_down=True),
    "unavailable": Outcome(R, "unavailable", retry_after_s=2),
    "internal": Outcome(R, "internal"),
    "html": Outcome(R, "bad_gateway"),
    "gateway": Outcome(R, "gateway_timeout"),
    "flaky": Outcome(R, "unavailable"),
    "slow20": SENT,
}
ONE_SIGNAL_FAULTS = {
    **_BY_STATUS,
    "dead": Outcome(Verdict.REJECTED, "not_subscribed"),
    "badtoken": Outcome(Verdict.REJECTED, "not_subscribed"),
}
PUSH_WEBHOOK_FAULTS = {
    **_BY_STATUS,
    "dead": Outcome(M, "gone"),
    "lost": Outcome(M, "not_found"),
}
PUSHER_BEAMS_FAULTS = {**_BY_STATUS, "dead": SENT}  # Beams does not say
PUSHPAD_FAULTS = {
    **_BY_STATUS,
    "dead": Outcome(Verdict.REJECTED, "not_subscribed"),
    "badtoken": Outcome(Verdict.REJECTED, "not_subscribed"),
}


def build_one_signal(simulator: Simulator, **options: Any) -> OneSignalProvider:
    """OneSignal at the simulator; external ids, for those may be any text."""
    given: dict[str, Any] = {
        "app_id": one_signal.APP_ID,
        "api_key": one_signal.API_KEY,
        "api_version": "externalId",
        **options,
    }
    return OneSignalProvider(
        endpoint=simulator.origin, ca_file=simulator.ca_file, **given
    )


def build_push_webhook(simulator: Simulator, **options: Any) -> PushWebhookProvider:
    """The simulator's webhook, with the secret that it checks."""
    given = {
        "url": simulator.origin + push_webhook.PATH,
        "secret": push_webhook.SECRET,
        **options,
    }
    return PushWebhookProvider(ca_file=simulator.ca_file, **given)


def build_pusher_beams(simulator: Simulator, **options: Any) -> PusherBeamsProvider:
    """Beams at the simulator."""
    given = {
        "instance_id": pusher_beams.INSTANCE_ID,
        "secret_key": pusher_beams.SECRET_KEY,
        **options,
    }
    return PusherBeamsProvider(
        endpoint=simulator.origin, ca_file=simulator.ca_file, **given
    )


def build_pushpad(simulator: Simulator, **options: Any) -> PushpadProvider:
    """Pushpad at the simulator."""
    given = {
        "auth_token": pushpad.AUTH_TOKEN,
        "project_id": pushpad.PROJECT_ID,
        **options,
    }
    return PushpadProvider(
        endpoint=simulator.origin, ca_file=simulator.ca_file, **given
    )
