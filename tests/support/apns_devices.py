"""APNs providers at the simulator, for devices that have names instead of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import Batch, Pace, PushProvider, Report
from tocsin.providers.apns import ApnsProvider
from tocsin.providers.apns_sdk import ApnsSdkProvider
from tocsin.providers.apns_setup import CertAuth, TokenAuth
from tocsin.providers.process_tokens import ProcessTokenStore
from tocsin.simulator.apns_keys import BUNDLE_ID, KEY_ID, P12_PASSWORD, TEAM_ID
from tocsin.simulator.apns_listener import ApnsListener
from tocsin.simulator.server import Simulator

R, M = Verdict.RETRY, Verdict.MISCONFIGURED

APNS_FAULTS: Mapping[str, Outcome] = {
    "device": Outcome(Verdict.DELIVERED),
    "dead": Outcome(Verdict.UNREGISTERED, "unregistered"),
    "badtoken": Outcome(Verdict.SUSPECT, "bad_device_token"),
    "badfield": Outcome(Verdict.REJECTED, "bad_collapse_id"),
    "badpayload": Outcome(Verdict.REJECTED, "payload_empty"),
    "toobig": Outcome(Verdict.REJECTED, "payload_too_large"),
    "mismatch": Outcome(Verdict.SUSPECT, "device_token_not_for_topic"),
    "thirdparty": Outcome(M, "bad_environment_key_id", slow_down=True),
    "denied": Outcome(M, "invalid_provider_token", slow_down=True),
    "lost": Outcome(Verdict.REJECTED, "bad_path"),
    "quota": Outcome(R, "too_many_requests", retry_after_s=60),
    "quotasec": Outcome(R, "too_many_requests", retry_after_s=7),
    "quotadate": Outcome(R, "too_many_requests", retry_after_s=30),
    "projectquota": Outcome(R, "too_many_provider_token_updates", slow_down=True),
    "unavailable": Outcome(R, "unavailable", retry_after_s=2),
    "internal": Outcome(R, "internal"),
    "html": Outcome(R, "bad_gateway"),
    "gateway": Outcome(R, "gateway_timeout"),
    "flaky": Outcome(R, "unavailable"),
    "expired": Outcome(M, "expired_provider_token", slow_down=True),
    "slow20": Outcome(Verdict.DELIVERED),
    "idletimeout": Outcome(R, "idle_timeout"),
    "shutdown": Outcome(R, "shutdown"),
    "unrelatedkeyidintoken": Outcome(R, "unrelated_key_id"),
    "topicdisallowed": Outcome(M, "topic_disallowed", slow_down=True),
    "expiredtoken3600": Outcome(Verdict.UNREGISTERED, "expired_token"),
    "goaway": Outcome(Verdict.DELIVERED),
}

_HIDDEN_BY_SDK = {"goaway", "quotadate"}
# aioapns keeps Retry-After to itself, and fails what a GOAWAY returned.
APNS_SDK_FAULTS: Mapping[str, Outcome] = {
    **{word: APNS_FAULTS[word] for word in APNS_FAULTS.keys() - _HIDDEN_BY_SDK},
    "quotasec": APNS_FAULTS["quota"],
    "unavailable": APNS_FAULTS["flaky"],
}


def token_of(name: str) -> str:
    """The device token of that name: its bytes in hex."""
    return name.encode().hex()


def key_of(simulator: Simulator) -> TokenAuth:
    """The simulator's signing key."""
    return TokenAuth(
        key_id=KEY_ID,
        team_id=TEAM_ID,
        key_file=simulator.of(ApnsListener).key_file,
    )


def certificate_of(simulator: Simulator) -> CertAuth:
    """The simulator's client certificate."""
    return CertAuth(p12_file=simulator.of(ApnsListener).p12_file, password=P12_PASSWORD)


def build_apns(
    simulator: Simulator,
    kind: type[ApnsProvider | ApnsSdkProvider] = ApnsProvider,
    **options: Any,
) -> ApnsProvider | ApnsSdkProvider:
    """A provider with the simulator's key, unless another credential is given."""
    settings: dict[str, Any] = {
        "auth": key_of(simulator),
        "tokens": ProcessTokenStore(),
        "bundle_id": BUNDLE_ID,
        "endpoint": simulator.of(ApnsListener).origin,
        "ca_file": simulator.ca_file,
        **options,
    }
    return kind(**settings)


def by_name(
    kind: type[ApnsProvider | ApnsSdkProvider],
) -> Callable[..., PushProvider]:
    """Builds providers whose targets are names."""

    def build(simulator: Simulator, **options: Any) -> PushProvider:
        return _ByName(build_apns(simulator, kind, **options))

    return build


class _ByName:
    """Turns the names of a batch into tokens."""

    name = "apns"

    def __init__(self, provider: ApnsProvider | ApnsSdkProvider) -> None:
        self._provider = provider
        self.integration = provider.integration
        self.batch_size = provider.batch_size

    async def send(self, batch: Batch, report: Report, pace: Pace) -> None:
        targets = [token_of(name) for name in batch.targets]
        await self._provider.send(replace(batch, targets=targets), report, pace)

    async def close(self) -> None:
        await self._provider.close()
