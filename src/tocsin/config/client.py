"""Sections of client connections: tokens, limits, timers. Part of `config`.

It must not read a token; it only says what was asked for.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from tocsin.config.channel import Count
from tocsin.config.fields import (
    Bool,
    Duration,
    Guard,
    Identity,
    Int,
    Kind,
    Section,
    Text,
    Texts,
    parse_objects,
)
from tocsin.config.urls import split_url

_JWKS = "https://id.example.com/jwks.json"


def _check_endpoint(value: str) -> str:
    # The path may hold {{name}} of a named group, so nothing is looked at but this.
    if value and split_url(value, _JWKS).scheme not in ("http", "https"):
        raise ValueError("must be an http:// or https:// URL")
    return value


Count64 = Annotated[Int, Field(ge=0)]
UserClaim = Annotated[Text, Field(pattern=r"^([a-zA-Z_]+)?$")]
Endpoint = Annotated[Text, AfterValidator(_check_endpoint)]
Delay = Annotated[Duration, Field(gt=0)]


class Token(Section):
    """Keys of tokens and who they must be for."""

    hmac_secret_key: Guard = SecretStr("")
    """secret of HS256, HS384 and HS512; none = these are refused"""
    hmac_previous_secret_key: Guard = SecretStr("")
    """the secret before; taken too while secrets change"""
    hmac_previous_secret_key_valid_until: Count64 = 0
    """Unix seconds until which the secret before is taken; 0 = for ever"""
    rsa_public_key: Identity = ""
    """PEM text of RS256, RS384 and RS512; none = these are refused"""
    ecdsa_public_key: Identity = ""
    """PEM text of ES256, ES384 or ES512; none = these are refused"""
    jwks_public_endpoint: Endpoint = ""
    """URL of published keys, which replace those above; may hold {{name}} of a
    named group of audience_regex or issuer_regex"""
    audience: Text = ""
    """what `aud` must be or hold"""
    audience_regex: Text = ""
    """what `aud` must match"""
    issuer: Text = ""
    """what `iss` must be"""
    issuer_regex: Text = ""
    """what `iss` must match"""
    user_id_claim: UserClaim = ""
    """the claim that holds the user; empty = sub"""


class SubscriptionToken(Token):
    """Keys of subscription tokens, where they have their own."""

    enabled: Bool = False
    """subscription tokens have keys of their own: these"""


class PersonalChannel(Section):
    """A channel of each user's own."""

    enabled: Bool = False
    """subscribe every connection to its user's own channel"""
    personal_channel_namespace: Text = ""
    """the namespace of these channels"""
    single_connection: Bool = False
    """a user's other connections are closed"""


class DisconnectTo(Section):
    """How a connection ends."""

    code: Annotated[Int, Field(ge=0, le=2**32 - 1)]
    """disconnect code"""
    reason: Text = ""
    """disconnect reason"""


class DisconnectTransform(Section):
    """How a one-way connection ends when its connect failed with a code."""

    code: Annotated[Int, Field(ge=0, le=2**32 - 1)]
    """error code"""
    to: DisconnectTo
    """how the connection ends"""


class ConnectCodeToDisconnect(Section):
    """Ends of failed one-way connects."""

    enabled: Bool = False
    """use the transforms"""
    transforms: Annotated[
        tuple[DisconnectTransform, ...], BeforeValidator(parse_objects), Kind("list")
    ] = ()
    """objects such as {"code": 109, "to": {"code": 4904, "reason": "..."}}"""


class Client(Section):
    """Connections of clients."""

    allowed_origins: Texts = ()
    """origins of browsers, with * as in globs; none = no browser may connect"""
    token: Token = Token()
    subscription_token: SubscriptionToken = SubscriptionToken()
    allow_anonymous_connect_without_token: Bool = False
    """connections without token are connections without user"""
    disallow_anonymous_connection_tokens: Bool = False
    """refuse tokens without user"""
    user_id_http_header: Text = ""
    """header in which a proxy before this server says who the user is"""
    insecure: Bool = False
    """everybody may do everything: for development only"""
    insecure_skip_token_signature_verify: Bool = False
    """take every token for good: for servers behind something that verified it"""
    ping_interval: Duration = 25.0
    """between two pings; 0 = none"""
    pong_timeout: Duration = 8.0
    """how long a pong may take; less than ping_interval, 0 = no pongs"""
    stale_close_delay: Delay = 10.0
    """how long a connection may take to connect"""
    expired_close_delay: Duration = 25.0
    """how long an expired connection may take to refresh"""
    expired_sub_close_delay: Duration = 25.0
    """how long an expired subscription may take to refresh"""
    presence_update_interval: Delay = 27.0
    """how often a connection renews its presence and is looked at"""
    channel_position_check_delay: Delay = 40.0
    """how often a position is compared with its stream"""
    channel_limit: Count = 128
    """subscriptions of a connection; 0 = any number"""
    queue_max_size: Count = 1_048_576
    """bytes that may wait for a slow client"""
    concurrency: Count = 0
    """commands of one connection at once; 0 = one after the other"""
    connection_limit: Count = 0
    """connections of this node; 0 = any number"""
    connection_rate_limit: Count = 0
    """connections per second of this node; 0 = any number"""
    user_connection_limit: Count = 0
    """connections of one user on this node; 0 = any number"""
    connect_include_server_time: Bool = False
    """tell clients the time at connect"""
    history_max_publication_limit: Annotated[Int, Field(ge=1, le=2**31 - 1)] = 300
    """publications of one history call"""
    recovery_max_publication_limit: Annotated[Int, Field(ge=1, le=2**31 - 1)] = 300
    """publications of one recovery"""
    subscribe_to_user_personal_channel: PersonalChannel = PersonalChannel()
    connect_code_to_unidirectional_disconnect: ConnectCodeToDisconnect = (
        ConnectCodeToDisconnect()
    )
