"""The push services of this program: each is declared here, and named nowhere else.

What a declaration holds is said in `core/push_services.py`. The machinery of a service
is imported when it is asked for: a process that sends nothing needs none of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tocsin.core import apns, webpush
from tocsin.core.push_services import BodyField, PushService, RawField, Setup
from tocsin.core.target_kind import TargetKind
from tocsin.core.tokens import Tokens, read_hex_token, read_opaque_token

if TYPE_CHECKING:  # who reads the table needs nothing that sends
    from tocsin.core.ports.providers import PushProvider


class FcmService(PushService):
    """Firebase Cloud Messaging, of Google."""

    name = "fcm"
    title = "FCM"
    id_letter = "f"
    tokens = Tokens(read_opaque_token, is_marked=lambda text: ":APA91" in text)
    body = BodyField("fcm")
    raw_targets = (
        RawField("fcm_tokens"),
        RawField("fcm_topic", TargetKind.TOPIC),
        RawField("fcm_condition", TargetKind.CONDITION),
    )
    first_retry_s = least_retry_s = 10.0  # Google's guidance for the shortest wait
    further_files = ("google_",)

    def settings(self) -> type[Any]:
        """See `PushService`."""
        from tocsin.config.fcm import FcmSection

        return FcmSection

    def build(self, settings: Any, setup: Setup) -> PushProvider:
        """See `PushService`."""
        from tocsin.providers.fcm import build_fcm

        return build_fcm(settings, setup.integration)

    async def imitate(self, place: Any) -> Any:
        """See `PushService`."""
        from tocsin.simulator.fcm import Fcm

        return await Fcm.start(place)


class HmsService(PushService):
    """Push Kit, of Huawei."""

    name = "hms"
    title = "HMS"
    id_letter = "h"
    tokens = Tokens(read_opaque_token)
    body = BodyField("hms")
    raw_targets = (
        RawField("hms_tokens"),
        RawField("hms_topic", TargetKind.TOPIC),
        RawField("hms_condition", TargetKind.CONDITION),
    )

    def settings(self) -> type[Any]:
        """See `PushService`."""
        from tocsin.config.hms import HmsSection

        return HmsSection

    def build(self, settings: Any, setup: Setup) -> PushProvider:
        """See `PushService`."""
        from tocsin.providers.hms import build_hms

        return build_hms(settings, setup.integration)

    async def imitate(self, place: Any) -> Any:
        """See `PushService`."""
        from tocsin.simulator.hms import Hms

        return Hms(place.ledger, place.faults)


class ApnsService(PushService):
    """Apple's Push Notification service."""

    name = "apns"
    title = "APNs"
    id_letter = "a"
    tokens = Tokens(read_hex_token)
    body = BodyField(
        "apns",
        "payload",
        headers=True,
        size_limit=apns.payload_limit,
        check_headers=apns.parse_headers,
    )
    raw_targets = (RawField("apns_tokens"),)
    has_own_port = True

    def settings(self) -> type[Any]:
        """See `PushService`."""
        from tocsin.config.apns import ApnsSection

        return ApnsSection

    def build(self, settings: Any, setup: Setup) -> PushProvider:
        """See `PushService`."""
        from tocsin.providers.apns import build_apns

        return build_apns(settings, setup.integration, setup.tokens)

    async def imitate(self, place: Any) -> Any:
        """See `PushService`."""
        from tocsin.simulator.apns_listener import ApnsListener

        return await ApnsListener.start(place)


class WebPushService(PushService):
    """Web Push, of every browser (RFC 8030)."""

    name = "webpush"
    title = "Web Push"
    id_letter = "w"
    tokens = webpush.Subscriptions()
    body = BodyField(
        "webpush",
        "payload",
        headers=True,
        any_json=True,  # it goes to the page's own code
        size_limit=lambda _: webpush.MAX_PAYLOAD_BYTES,
        check_headers=webpush.parse_headers,
    )
    raw_targets = (RawField("webpush_tokens"),)
    further_files = ("vapid",)

    def settings(self) -> type[Any]:
        """See `PushService`."""
        from tocsin.config.webpush import WebPushSection

        return WebPushSection

    def build(self, settings: Any, setup: Setup) -> PushProvider:
        """See `PushService`."""
        from tocsin.providers.webpush import build_webpush

        return build_webpush(settings, setup.integration)

    async def imitate(self, place: Any) -> Any:
        """See `PushService`."""
        from tocsin.simulator.webpush import WebPush

        return WebPush.start(place)


class ExpoService(PushService):
    """The push service of Expo."""

    name = "expo"
    title = "Expo"
    id_letter = "e"
    tokens = Tokens(
        read_opaque_token,
        is_marked=lambda text: text.startswith(
            ("ExponentPushToken[", "ExpoPushToken[")
        ),
    )
    body = BodyField("expo")
    raw_targets = (RawField("expo_tokens"),)

    def settings(self) -> type[Any]:
        """See `PushService`."""
        from tocsin.config.raw_push import ExpoSection

        return ExpoSection

    def build(self, settings: Any, setup: Setup) -> PushProvider:
        """See `PushService`."""
        from tocsin.providers.expo import build_expo

        return build_expo(settings, setup.integration)

    async def imitate(self, place: Any) -> Any:
        """See `PushService`."""
        from tocsin.simulator.expo import Expo

        return Expo(place.ledger, place.faults)


class OneSignalService(PushService):
    """OneSignal; a token is OneSignal's id of a device, or the operator's of a user."""

    name = "one-signal"
    title = "OneSignal"
    id_letter = "s"
    body = BodyField("one_signal")
    raw_targets = (RawField("one_signal_ids"),)

    def settings(self) -> type[Any]:
        """See `PushService`."""
        from tocsin.config.raw_push import OneSignalSection

        return OneSignalSection

    def build(self, settings: Any, setup: Setup) -> PushProvider:
        """See `PushService`."""
        from tocsin.providers.one_signal import build_one_signal

        return build_one_signal(settings, setup.integration)

    async def imitate(self, place: Any) -> Any:
        """See `PushService`."""
        from tocsin.simulator.one_signal import OneSignal

        return OneSignal(place.ledger, place.faults)


class PushWebhookService(PushService):
    """An HTTP endpoint of one's own."""

    name = "push-webhook"
    title = "Push Webhook"
    id_letter = "k"
    body = BodyField("push_webhook")
    raw_targets = (RawField("push_webhook_targets"),)

    def settings(self) -> type[Any]:
        """See `PushService`."""
        from tocsin.config.raw_push import PushWebhookSection

        return PushWebhookSection

    def build(self, settings: Any, setup: Setup) -> PushProvider:
        """See `PushService`."""
        from tocsin.providers.push_webhook import build_push_webhook

        return build_push_webhook(settings, setup.integration)

    async def imitate(self, place: Any) -> Any:
        """See `PushService`."""
        from tocsin.simulator.push_webhook import PushWebhook

        return PushWebhook(place.ledger, place.faults)


class PusherBeamsService(PushService):
    """Pusher Beams; a token is a name of a user."""

    name = "pusher-beams"
    title = "Pusher Beams"
    id_letter = "b"
    body = BodyField("pusher_beams")
    raw_targets = (RawField("pusher_beams_users"),)

    def settings(self) -> type[Any]:
        """See `PushService`."""
        from tocsin.config.raw_push import PusherBeamsSection

        return PusherBeamsSection

    def build(self, settings: Any, setup: Setup) -> PushProvider:
        """See `PushService`."""
        from tocsin.providers.pusher_beams import build_pusher_beams

        return build_pusher_beams(settings, setup.integration)

    async def imitate(self, place: Any) -> Any:
        """See `PushService`."""
        from tocsin.simulator.pusher_beams import PusherBeams

        return PusherBeams(place.ledger, place.faults)


class PushpadService(PushService):
    """Pushpad; a token is a name of a user."""

    name = "pushpad"
    title = "Pushpad"
    id_letter = "p"
    body = BodyField("pushpad")
    raw_targets = (RawField("pushpad_uids"),)

    def settings(self) -> type[Any]:
        """See `PushService`."""
        from tocsin.config.raw_push import PushpadSection

        return PushpadSection

    def build(self, settings: Any, setup: Setup) -> PushProvider:
        """See `PushService`."""
        from tocsin.providers.pushpad import build_pushpad

        return build_pushpad(settings, setup.integration)

    async def imitate(self, place: Any) -> Any:
        """See `PushService`."""
        from tocsin.simulator.pushpad import Pushpad

        return Pushpad(place.ledger, place.faults)


PUSH_SERVICES: tuple[PushService, ...] = (
    FcmService(),
    HmsService(),
    ApnsService(),
    WebPushService(),
    ExpoService(),
    OneSignalService(),
    PushWebhookService(),
    PusherBeamsService(),
    PushpadService(),
)
"""All of them, in the order in which documents and messages name them."""
