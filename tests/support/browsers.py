"""Web Push in tests: VAPID keys, and browsers at the simulator, told by a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tocsin.core.endpoints import EndpointRules
from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, PushProvider, Report
from tocsin.core.webpush import make_target
from tocsin.providers.webpush import WebPushProvider
from tocsin.simulator.server import Simulator
from tocsin.simulator.webpush import WebPush, make_vapid_keys

PUBLIC_KEY, PRIVATE_KEY = make_vapid_keys()
SUBJECT = "mailto:ops@example.com"

WEBPUSH_FAULTS: Mapping[str, Outcome] = {
    "device": Outcome(Verdict.DELIVERED),
    "dead": Outcome(Verdict.UNREGISTERED, "unregistered"),
    "badtoken": Outcome(Verdict.UNREGISTERED, "unregistered"),
    "lost": Outcome(Verdict.UNREGISTERED, "unregistered"),
    "badpayload": Outcome(Verdict.REJECTED, "bad_request"),
    "badfield": Outcome(Verdict.REJECTED, "bad_request"),
    "thirdparty": Outcome(Verdict.REJECTED, "bad_request"),
    "toobig": Outcome(Verdict.REJECTED, "payload_too_large"),
    "moved": Outcome(Verdict.REJECTED, "moved"),
    "mismatch": Outcome(Verdict.SUSPECT, "vapid_refused"),
    "denied": Outcome(Verdict.SUSPECT, "vapid_refused"),
    # Two of the 429: a third in a row would be taken for the origin's.
    "quota": Outcome(Verdict.RETRY, "quota_exceeded", retry_after_s=60),
    "quotadate": Outcome(Verdict.RETRY, "quota_exceeded", retry_after_s=30),
    "unavailable": Outcome(Verdict.RETRY, "unavailable", retry_after_s=2),
    "internal": Outcome(Verdict.RETRY, "internal"),
    "html": Outcome(Verdict.RETRY, "bad_gateway"),
    "gateway": Outcome(Verdict.RETRY, "gateway_timeout"),
    "flaky": Outcome(Verdict.RETRY, "unavailable"),
    "slow20": Outcome(Verdict.DELIVERED),
}
"""What each word of the simulator means at a push service."""


def keys_text(subscription: Mapping[str, Any]) -> str:
    """The keys as the registry keeps them."""
    keys = subscription["keys"]
    return f'{{"p256dh":"{keys["p256dh"]}","auth":"{keys["auth"]}"}}'


def target_of(subscription: Mapping[str, Any]) -> str:
    """The string that a send to this subscription carries."""
    return make_target(subscription["endpoint"], keys_text(subscription))


def build_webpush(simulator: Simulator, **options: Any) -> WebPushProvider:
    """Web Push that may reach the simulator and nothing else."""
    settings: dict[str, Any] = {
        "vapid_public_key": PUBLIC_KEY,
        "vapid_private_key": PRIVATE_KEY,
        "subject": SUBJECT,
        "rules": EndpointRules.of([simulator.origin], allow_private=True),
        "ca_file": simulator.ca_file,
        **options,
    }
    return WebPushProvider(**settings)


def build_webpush_by_name(simulator: Simulator, **options: Any) -> PushProvider:
    """The same, for targets that are names: each becomes a browser of that name."""
    return _ByName(build_webpush(simulator, **options), simulator)


class _ByName:
    """Subscribes a browser for each name that a batch is the first to mention."""

    name = "webpush"

    def __init__(self, provider: WebPushProvider, simulator: Simulator) -> None:
        self._provider = provider
        self._simulator = simulator
        self._targets: dict[str, str] = {}
        self.integration = provider.integration
        self.batch_size = provider.batch_size

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        targets = [self._subscribe(name) for name in batch.targets]
        await self._provider.send(replace(batch, targets=targets), report, pace)

    async def close(self) -> None:
        await self._provider.close()

    def _subscribe(self, name: str) -> str:
        if name not in self._targets:
            made = self._simulator.of(WebPush).new_subscription(
                name, application_server_key=PUBLIC_KEY
            )
            self._targets[name] = target_of(made)
        return self._targets[name]
