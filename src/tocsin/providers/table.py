"""Which provider name stands for which adapter; the only file that knows all.

It must read no configuration itself: settings come in as they were validated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, cast, runtime_checkable

from tocsin.config import PemError, load_pem
from tocsin.config.apns import Apns
from tocsin.config.hms import Hms
from tocsin.config.integrations import PATH
from tocsin.config.pasted import decode_any_base64, read_text
from tocsin.config.raw_push import (
    Expo,
    OneSignal,
    PusherBeams,
    Pushpad,
    PushWebhook,
)
from tocsin.config.webpush import WebPush
from tocsin.core.endpoints import EndpointRules
from tocsin.core.ports.providers import PushProvider, TokenStore
from tocsin.providers.apns import ApnsProvider
from tocsin.providers.apns_sdk import ApnsSdkProvider
from tocsin.providers.apns_setup import CertAuth, TokenAuth
from tocsin.providers.errors import ProviderSetupError, relocate
from tocsin.providers.expo import ExpoProvider
from tocsin.providers.fcm import FcmProvider
from tocsin.providers.fcm_sdk import FcmSdkProvider
from tocsin.providers.hms import HmsProvider
from tocsin.providers.one_signal import OneSignalProvider
from tocsin.providers.process_tokens import ProcessTokenStore
from tocsin.providers.push_webhook import PushWebhookProvider
from tocsin.providers.pusher_beams import PusherBeamsProvider
from tocsin.providers.pushpad import PushpadProvider
from tocsin.providers.webpush import WebPushProvider


class FcmSettings(Protocol):
    """What `push_notifications.fcm` has to offer."""

    @property
    def credentials_file(self) -> str:
        """Path of the service account file."""
        ...

    @property
    def endpoint(self) -> str:
        """An origin."""
        ...

    @property
    def ca_file(self) -> str:
        """Path of a PEM file beside the system's roots, or empty."""
        ...

    @property
    def transport(self) -> str:
        """`native` or `sdk`."""
        ...

    @property
    def tokens_batch_size(self) -> int:
        """Recipients per batch."""
        ...

    @property
    def max_connections(self) -> int:
        """HTTP/2 connections per worker."""
        ...


@runtime_checkable
class Expiring(Protocol):
    """A provider whose credential may end (APNs certificates)."""

    credential_expires_at_s: float | None
    """Unix seconds; `None` where it never does."""


def build_provider(
    name: str,
    settings: object,
    *,
    integration: str = "",
    tokens: TokenStore | None = None,
) -> PushProvider:
    """The provider of this name; `integration` is its identifier, else the name.

    `tokens` is where all workers agree on tokens; without it each has its own.
    Call it in the event loop that will send. Raises `ProviderSetupError` naming the
    configuration key at fault.
    """
    builder = BUILDERS.get(name)
    if builder is None:
        raise ProviderSetupError(
            "push_notifications.enabled_providers",
            f"{name} is not built into this release ({', '.join(BUILDERS)})",
        )
    try:
        if builder is _build_apns:
            return _build_apns(settings, integration or name, tokens)
        return builder(settings, integration or name)
    except ProviderSetupError as error:
        if integration in {"", name}:
            raise
        raise relocate(error, f"{PATH}[{integration}]") from None


def _build_fcm(settings: object, integration: str) -> PushProvider:
    fcm = cast("FcmSettings", settings)
    builders: Mapping[str, Callable[..., PushProvider]] = {
        "native": FcmProvider,
        "sdk": FcmSdkProvider,
    }
    if fcm.transport not in builders:
        raise ProviderSetupError(
            "push_notifications.fcm.transport",
            f"{fcm.transport!r} is neither native nor sdk",
        )
    return builders[fcm.transport](
        credentials_file=fcm.credentials_file,
        endpoint=fcm.endpoint,
        ca_file=fcm.ca_file,
        batch_size=fcm.tokens_batch_size,
        max_connections=fcm.max_connections,
        integration=integration,
    )


def _build_hms(settings: object, integration: str) -> PushProvider:
    hms = cast("Hms", settings)
    return HmsProvider(
        app_id=read_text(hms.app_id),
        app_secret=read_text(hms.app_secret.get_secret_value()),
        project_id=read_text(hms.project_id),
        auth_endpoint=hms.auth_endpoint,
        push_endpoint=hms.push_endpoint,
        ca_file=hms.ca_file,
        batch_size=hms.tokens_batch_size,
        max_connections=hms.max_connections,
        integration=integration,
    )


def _build_webpush(settings: object, integration: str) -> PushProvider:
    webpush = cast("WebPush", settings)
    return WebPushProvider(
        vapid_public_key=webpush.vapid_public_key,
        vapid_private_key=webpush.vapid_private_key.get_secret_value(),
        subject=webpush.subject,
        rules=EndpointRules.configured(
            webpush.allowed_endpoint_origins,
            webpush.extra_allowed_endpoint_origins,
            allow_private=webpush.allow_private_addresses,
        ),
        ca_file=webpush.ca_file,
        batch_size=webpush.tokens_batch_size,
        integration=integration,
    )


def _build_apns(
    settings: object, integration: str, tokens: TokenStore | None = None
) -> PushProvider:
    apns = cast("Apns", settings)
    builders: Mapping[str, Callable[..., PushProvider]] = {
        "native": ApnsProvider,
        "sdk": ApnsSdkProvider,
    }
    return builders[apns.transport](
        auth=apns_auth(apns),
        tokens=tokens or ProcessTokenStore(),
        bundle_id=read_text(apns.bundle_id),
        endpoint=apns.endpoint,
        ca_file=apns.ca_file,
        batch_size=apns.tokens_batch_size,
        max_connections=apns.max_connections,
        integration=integration,
    )


def apns_auth(apns: Apns) -> TokenAuth | CertAuth:
    """The credential of a section; raises `ProviderSetupError`."""
    if apns.resolved_auth_type == "cert":
        return CertAuth(
            p12_file=apns.cert_p12_file,
            p12_b64=apns.cert_p12_b64.get_secret_value(),
            password=apns.cert_p12_password.get_secret_value(),
        )
    pem = b""
    if apns.token_key_pem.get_secret_value():
        try:
            pem = load_pem(apns.token_key_pem)
        except PemError as error:
            pem = decode_any_base64(apns.token_key_pem.get_secret_value()) or b""
            if not pem.startswith(b"\x30"):  # a key without its BEGIN and END lines
                key = "push_notifications.apns.token_key_pem"
                raise ProviderSetupError(key, str(error)) from None
    return TokenAuth(
        key_id=read_text(apns.token_key_id),
        team_id=read_text(apns.token_team_id),
        key_file=apns.token_key_file,
        key_pem=pem,
    )


def _build_expo(settings: object, integration: str) -> PushProvider:
    expo = cast("Expo", settings)
    return ExpoProvider(
        access_token=read_text(expo.access_token.get_secret_value()),
        endpoint=expo.endpoint,
        ca_file=expo.ca_file,
        batch_size=expo.tokens_batch_size,
        max_connections=expo.max_connections,
        receipt_delay_s=expo.receipt_delay,
        integration=integration,
    )


def _build_one_signal(settings: object, integration: str) -> PushProvider:
    one_signal = cast("OneSignal", settings)
    return OneSignalProvider(
        app_id=read_text(one_signal.app_id),
        api_key=read_text(one_signal.api_key.get_secret_value()),
        api_version=one_signal.api_version,
        endpoint=one_signal.endpoint,
        ca_file=one_signal.ca_file,
        batch_size=one_signal.tokens_batch_size,
        max_connections=one_signal.max_connections,
        integration=integration,
    )


def _build_push_webhook(settings: object, integration: str) -> PushProvider:
    webhook = cast("PushWebhook", settings)
    return PushWebhookProvider(
        url=webhook.url,
        secret=webhook.secret.get_secret_value(),
        ca_file=webhook.ca_file,
        batch_size=webhook.tokens_batch_size,
        max_connections=webhook.max_connections,
        integration=integration,
    )


def _build_pusher_beams(settings: object, integration: str) -> PushProvider:
    beams = cast("PusherBeams", settings)
    return PusherBeamsProvider(
        instance_id=read_text(beams.instance_id),
        secret_key=read_text(beams.secret_key.get_secret_value()),
        endpoint=beams.endpoint,
        ca_file=beams.ca_file,
        batch_size=beams.tokens_batch_size,
        max_connections=beams.max_connections,
        integration=integration,
    )


def _build_pushpad(settings: object, integration: str) -> PushProvider:
    pushpad = cast("Pushpad", settings)
    return PushpadProvider(
        auth_token=read_text(pushpad.auth_token.get_secret_value()),
        project_id=read_text(pushpad.project_id),
        endpoint=pushpad.endpoint,
        ca_file=pushpad.ca_file,
        batch_size=pushpad.tokens_batch_size,
        max_connections=pushpad.max_connections,
        integration=integration,
    )


BUILDERS: Mapping[str, Callable[[object, str], PushProvider]] = {
    "apns": _build_apns,
    "expo": _build_expo,
    "fcm": _build_fcm,
    "hms": _build_hms,
    "one-signal": _build_one_signal,
    "push-webhook": _build_push_webhook,
    "pusher-beams": _build_pusher_beams,
    "pushpad": _build_pushpad,
    "webpush": _build_webpush,
}
"""One line per provider."""
