"""Further credentials beside the providers' sections, in a list. Part of `config`.

It must not connect to anything. An item has the keys of its provider's section and
its own name; how sections and items make one list is said here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tocsin.config.apns import Apns
from tocsin.config.fcm import Fcm
from tocsin.config.fields import (
    Bool,
    Holds,
    Kind,
    Section,
    Shown,
    Text,
    parse_objects,
)
from tocsin.config.hms import Hms
from tocsin.config.raw_push import (
    Expo,
    OneSignal,
    PusherBeams,
    Pushpad,
    PushWebhook,
)
from tocsin.config.showing import show_name
from tocsin.config.webpush import WebPush

PATH = "push_notifications.integrations"

Identifier = Annotated[Text, Field(pattern=r"^[A-Za-z0-9_.-]+$", max_length=100)]


class Item(Section):
    """What every item of the list has beside the keys of its provider."""

    identifier: Identifier
    """its name in the API, unique"""
    active: Bool = True
    """false: nothing is sent through it"""


class FcmItem(Fcm, Item):
    """Another Firebase project."""

    provider: Literal["fcm"]


class HmsItem(Hms, Item):
    """Another Huawei app."""

    provider: Literal["hms"]


class ApnsItem(Apns, Item):
    """Another Apple app, team or environment."""

    provider: Literal["apns"]


class WebPushItem(WebPush, Item):
    """Another VAPID key."""

    provider: Literal["webpush"]


class ExpoItem(Expo, Item):
    """Another Expo project."""

    provider: Literal["expo"]


class OneSignalItem(OneSignal, Item):
    """Another OneSignal app."""

    provider: Literal["one-signal"]


class PushWebhookItem(PushWebhook, Item):
    """Another receiver."""

    provider: Literal["push-webhook"]


class PusherBeamsItem(PusherBeams, Item):
    """Another Beams instance."""

    provider: Literal["pusher-beams"]


class PushpadItem(Pushpad, Item):
    """Another Pushpad project."""

    provider: Literal["pushpad"]


AnyItem = Annotated[
    FcmItem
    | HmsItem
    | ApnsItem
    | WebPushItem
    | ExpoItem
    | OneSignalItem
    | PushWebhookItem
    | PusherBeamsItem
    | PushpadItem,
    Field(discriminator="provider"),
]

Items = Annotated[
    tuple[AnyItem, ...],
    BeforeValidator(parse_objects),
    Kind("list"),
    Shown("[]"),
    Holds(),  # secrets in it: no message quotes a value
    Field(repr=False),
]


@dataclass(frozen=True, slots=True)
class Credential:
    """One integration: its name, and the section or item that has its keys.

    `path` leads to those keys in the configuration. `batch_size` is recipients per
    job.
    """

    identifier: str
    provider: str
    active: bool
    settings: Section
    batch_size: int
    path: str


def from_item(item: AnyItem) -> Credential:
    """The integration that an item of the list is."""
    path = f"{PATH}[{show_name(item.identifier)}]"
    size = item.tokens_batch_size
    return Credential(item.identifier, item.provider, item.active, item, size, path)
