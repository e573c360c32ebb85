"""Sections of channels: namespaces and what their users may do. Part of `config`.

It must not decide about a channel; it only says what was asked for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from tocsin.config.fields import (
    Bool,
    Duration,
    Int,
    Kind,
    Section,
    Shown,
    Text,
    parse_texts,
)

DataFormat = Annotated[Literal["", "json", "json_object", "binary"], Kind("string")]
Count = Annotated[Int, Field(ge=0, le=2**31 - 1)]
NAMESPACE_NAME = r"^[-a-zA-Z0-9_.]{2,}$"


class ChannelOptionsSection(Section):
    """The options of one namespace, or of all channels without one."""

    presence: Bool = False
    """keep who is in a channel; presence calls need it"""
    join_leave: Bool = False
    """tell when somebody comes and goes"""
    force_push_join_leave: Bool = False
    """tell every subscriber, asked for or not"""
    history_size: Count = 0
    """publications kept; together with history_ttl"""
    history_ttl: Duration = 0.0
    """how long they are kept after the last one; whole seconds"""
    history_meta_ttl: Annotated[Duration, Shown("channel.history_meta_ttl")] = 0.0
    """how long a position is kept; not less than history_ttl"""
    force_positioning: Bool = False
    """watch every subscriber's position"""
    allow_positioning: Bool = False
    """a subscriber may ask for that"""
    force_recovery: Bool = False
    """every subscription can be recovered; needs history"""
    allow_recovery: Bool = False
    """a subscriber may ask for that; needs history"""
    force_recovery_mode: Annotated[
        Literal["", "stream", "cache"], Kind("string"), Shown("stream")
    ] = ""
    """stream: all that was missed; cache: the latest publication"""
    auto_cache_recover: Bool = False
    """the latest publication for everybody who subscribes; needs force_recovery and
    mode cache"""
    allowed_delta_types: Annotated[
        tuple[Literal["fossil"], ...], BeforeValidator(parse_texts), Kind("list")
    ] = ()
    """deltas a subscriber may ask for: fossil"""
    delta_publish: Bool = False
    """every publication may go out as a delta"""
    allow_tags_filter: Bool = False
    """a subscriber may filter by tags"""
    allow_subscribe_for_client: Bool = False
    """users may subscribe without a token"""
    allow_subscribe_for_anonymous: Bool = False
    """so may connections without a user; both are needed"""
    allow_publish_for_subscriber: Bool = False
    """subscribers may publish"""
    allow_publish_for_client: Bool = False
    """every connection may publish"""
    allow_publish_for_anonymous: Bool = False
    """additional: so may connections without a user"""
    allow_history_for_subscriber: Bool = False
    """subscribers may read history"""
    allow_history_for_client: Bool = False
    """every connection may read history"""
    allow_history_for_anonymous: Bool = False
    """additional: so may connections without a user"""
    allow_presence_for_subscriber: Bool = False
    """subscribers may see who is there"""
    allow_presence_for_client: Bool = False
    """every connection may see who is there"""
    allow_presence_for_anonymous: Bool = False
    """additional: so may connections without a user"""
    allow_user_limited_channels: Bool = False
    """what stands after channel.user_boundary are the users who may subscribe"""
    channel_regex: Text = ""
    """what clients' channel names must match, after the namespace"""
    publication_data_format: DataFormat = ""
    """json, json_object or binary; empty: channel.publication_data_format"""
    subscription_type: Annotated[
        Literal["", "stream", "map", "map_clients", "map_users", "shared_poll"],
        Kind("string"),
        Shown("stream"),
    ] = ""
    """only stream is built: channels of the others refuse everything"""


class Namespace(ChannelOptionsSection):
    """One namespace."""

    name: Annotated[Text, Field(pattern=NAMESPACE_NAME)]
    """what stands before channel.namespace_boundary"""


class Channel(Section):
    """Channels: how names are read, and namespaces."""

    without_namespace: ChannelOptionsSection = ChannelOptionsSection()
    namespaces: Annotated[tuple[Namespace, ...], Kind("list")] = ()
    """objects with a name and the options of channel.without_namespace"""
    history_meta_ttl: Annotated[Duration, Field(ge=1)] = 720 * 3600.0
    """how long positions of channels are kept"""
    publication_data_format: DataFormat = ""
    """json, json_object or binary; empty: anything but nothing"""
    max_length: Count = 255
    """bytes of a channel name that clients may use; 0 = any"""
    private_prefix: Text = "$"
    """such channels need a subscription token; empty = none"""
    namespace_boundary: Text = ":"
    """ends the namespace in a channel name; empty = no namespaces"""
    user_boundary: Text = "#"
    """begins the users in a channel name; empty = no such channels"""
    user_separator: Text = ","
    """stands between those users"""
