"""The services that take raw bodies: how they are built, what their faults mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tocsin.core.outcome import Outcome, Verdict
from tocsin.providers.expo import ExpoProvider
from tocsin.simulator import expo
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
