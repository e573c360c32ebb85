"""Every provider behind the port, as the contract tests and others build it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.apns_devices import APNS_FAULTS, APNS_SDK_FAULTS, by_name
from tests.support.browsers import WEBPUSH_FAULTS, build_webpush_by_name
from tests.support.raw_services import (
    EXPO_FAULTS,
    ONE_SIGNAL_FAULTS,
    PUSH_WEBHOOK_FAULTS,
    PUSHER_BEAMS_FAULTS,
    PUSHPAD_FAULTS,
    build_expo,
    build_one_signal,
    build_push_webhook,
    build_pusher_beams,
    build_pushpad,
)

from tocsin.core.outcome import Outcome, Verdict
from tocsin.core.ports.providers import PushProvider
from tocsin.core.push import TargetKind
from tocsin.providers.apns import ApnsProvider
from tocsin.providers.apns_sdk import ApnsSdkProvider
from tocsin.providers.fcm import FcmProvider
from tocsin.providers.fcm_sdk import FcmSdkProvider
from tocsin.providers.hms import HmsProvider
from tocsin.simulator import hms
from tocsin.simulator.fcm import Fcm
from tocsin.simulator.server import Simulator

R, M = Verdict.RETRY, Verdict.MISCONFIGURED


@dataclass(frozen=True)
class Case:
    """One implementation, and what it does where services differ.

    `faults` says what each word of the simulator means when one request carries
    it alone. `single` are options that make each target a request of its own.
    """

    name: str
    build: Callable[..., PushProvider]
    faults: Mapping[str, Outcome]
    single: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[TargetKind, ...] = (TargetKind.TOKEN,)
    aimed: bytes = b"{}"
    """A message with targets of its own, which must give way."""
    has_access_tokens: bool = False
    refusal_code: str = ""
    """Code of every refusal by the token endpoint; empty: its own word."""
    validates: bool = False
    encrypts: bool = False
    """The service cannot read a message, which may be any JSON."""
    id_in_head: bool = False
    """A message's id travels in a header, which outlives a broken body."""
    many_errors: int = 600

    def named(self, name: str) -> bytes:
        """A valid message of its own for somebody."""
        return b'{"notification": {"title": "' + name.encode() + b'"}}'


FCM_FAULTS: Mapping[str, Outcome] = {
    "device": Outcome(Verdict.DELIVERED),
    "dead": Outcome(Verdict.UNREGISTERED, "unregistered"),
    "badtoken": Outcome(Verdict.UNREGISTERED, "invalid_token"),
    "badfield": Outcome(Verdict.UNREGISTERED, "invalid_token"),
    "badpayload": Outcome(Verdict.REJECTED, "invalid_argument"),
    "toobig": Outcome(Verdict.REJECTED, "invalid_argument"),
    "mismatch": Outcome(Verdict.SUSPECT, "sender_id_mismatch"),
    "thirdparty": Outcome(M, "third_party_auth_error"),
    "denied": Outcome(M, "permission_denied", slow_down=True),
    "lost": Outcome(M, "not_found", slow_down=True),
    "quota": Outcome(R, "quota_exceeded", retry_after_s=60),
    "quotasec": Outcome(R, "quota_exceeded", retry_after_s=7),
    "quotadate": Outcome(R, "quota_exceeded", retry_after_s=30),
    "projectquota": Outcome(R, "quota_exceeded", retry_after_s=60, slow_down=True),
    "unavailable": Outcome(R, "unavailable", retry_after_s=2),
    "internal": Outcome(R, "internal"),
    "html": Outcome(R, "bad_gateway"),
    "gateway": Outcome(R, "gateway_timeout"),
    "flaky": Outcome(R, "unavailable"),
    "slow20": Outcome(Verdict.DELIVERED),
}

HMS_FAULTS: Mapping[str, Outcome] = {
    "device": Outcome(Verdict.DELIVERED),
    "dead": Outcome(Verdict.SUSPECT, "all_tokens_invalid"),
    "badtoken": Outcome(Verdict.SUSPECT, "all_tokens_invalid"),
    "badpayload": Outcome(Verdict.REJECTED, "invalid_message"),
    "toobig": Outcome(Verdict.REJECTED, "payload_too_large"),
    "mismatch": Outcome(Verdict.SUSPECT, "all_tokens_invalid"),
    "thirdparty": Outcome(M, "high_priority_not_granted"),
    "denied": Outcome(M, "permission_denied", slow_down=True),
    "lost": Outcome(M, "not_found", slow_down=True),
    "quota": Outcome(R, "flow_control", slow_down=True),
    "quotasec": Outcome(R, "flow_control", retry_after_s=7, slow_down=True),
    "quotadate": Outcome(R, "flow_control", retry_after_s=30, slow_down=True),
    "unavailable": Outcome(R, "flow_control", retry_after_s=2, slow_down=True),
    "internal": Outcome(R, "internal"),
    "html": Outcome(R, "bad_gateway"),
    "gateway": Outcome(R, "gateway_timeout"),
    "flaky": Outcome(R, "flow_control", slow_down=True),
    "expired": Outcome(Verdict.DELIVERED),
    "slow20": Outcome(Verdict.DELIVERED),
}


def _fcm(kind: type[FcmProvider | FcmSdkProvider]) -> Callable[..., PushProvider]:
    def build(simulator: Simulator, **options: Any) -> PushProvider:
        return kind(
            credentials_file=simulator.of(Fcm).account_file,
            endpoint=simulator.origin,
            ca_file=simulator.ca_file,
            **options,
        )

    return build


def build_hms(simulator: Simulator, **options: Any) -> HmsProvider:
    """Huawei Push Kit at the simulator, v1 unless a project is given."""
    given = {"app_secret": hms.APP_SECRET, **options}
    return HmsProvider(
        app_id=hms.APP_ID,
        auth_endpoint=simulator.origin,
        push_endpoint=simulator.origin,
        ca_file=simulator.ca_file,
        **given,
    )


_TOPICS = (TargetKind.TOKEN, TargetKind.TOPIC, TargetKind.CONDITION)

CASES = (
    Case(
        "fcm",
        _fcm(FcmProvider),
        FCM_FAULTS,
        kinds=_TOPICS,
        aimed=b'{"topic": "old", "token": "old", "data": {"token": "kept"}}',
        has_access_tokens=True,
        validates=True,
        many_errors=5000,
    ),
    Case(
        "fcm-sdk",
        _fcm(FcmSdkProvider),
        FCM_FAULTS,
        kinds=_TOPICS,
        aimed=b'{"topic": "old", "token": "old", "data": {"token": "kept"}}',
        has_access_tokens=True,
        validates=True,
    ),
    Case(
        "hms",
        build_hms,
        HMS_FAULTS,
        single={"batch_size": 1},
        many_errors=60,
        kinds=_TOPICS,
        aimed=b'{"topic": "old", "token": ["old"], "data": "{}"}',
        has_access_tokens=True,
        refusal_code="credentials_refused",
        validates=True,
    ),
    Case(
        "expo",
        build_expo,
        EXPO_FAULTS,
        single={"batch_size": 1},
        many_errors=60,
        aimed=b'{"to": ["old"], "title": "t"}',
    ),
    Case(
        "one-signal",
        build_one_signal,
        ONE_SIGNAL_FAULTS,
        single={"batch_size": 1},
        many_errors=60,
        aimed=b'{"app_id": "other", "included_segments": ["All"], "contents": {}}',
    ),
    Case(
        "push-webhook",
        build_push_webhook,
        PUSH_WEBHOOK_FAULTS,
        many_errors=60,
        aimed=b'{"target": ["old"], "title": "t"}',
    ),
    Case(
        "pusher-beams",
        build_pusher_beams,
        PUSHER_BEAMS_FAULTS,
        single={"batch_size": 1},
        many_errors=60,
        aimed=b'{"users": ["old"], "interests": ["old"], "web": {}}',
    ),
    Case(
        "pushpad",
        build_pushpad,
        PUSHPAD_FAULTS,
        single={"batch_size": 1},
        many_errors=60,
        aimed=b'{"uids": ["old"], "notification": {"body": "b"}}',
    ),
    Case(
        "webpush",
        build_webpush_by_name,
        WEBPUSH_FAULTS,
        encrypts=True,
        id_in_head=True,
    ),
    Case(
        "apns",
        by_name(ApnsProvider),
        APNS_FAULTS,
        aimed=b'{"a": 1}',
        id_in_head=True,
        many_errors=5000,
    ),
    Case(
        "apns-sdk",
        by_name(ApnsSdkProvider),
        APNS_SDK_FAULTS,
        aimed=b'{"a": 1}',
        id_in_head=True,
    ),
)
