"""From the configuration to what the rooms of the realtime corridor take.

Plain translation; it opens nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from tocsin.channels.namespaces import NamespaceSettings
from tocsin.channels.patterns import compile_pattern
from tocsin.channels.signatures import StaticKeys
from tocsin.channels.tokens import TokenSettings
from tocsin.config import Config
from tocsin.config.channel import ChannelOptionsSection
from tocsin.config.client import Token
from tocsin.config.showing import scrub_quoted
from tocsin.core.channel import ChannelOptions
from tocsin.core.client_codes import Disconnect
from tocsin.sessions.settings import SessionSettings
from tocsin.transports.admission import Origins

_SECONDS = ("history_ttl", "history_meta_ttl")


def namespace_settings(config: Config) -> NamespaceSettings:
    """`channel` and the personal channels of `client`."""
    channel = config.channel
    personal = config.client.subscribe_to_user_personal_channel
    return NamespaceSettings(
        without_namespace=_options(channel.without_namespace),
        namespaces={each.name: _options(each) for each in channel.namespaces},
        history_meta_ttl=int(channel.history_meta_ttl),
        publication_data_format=channel.publication_data_format,
        max_length=channel.max_length,
        private_prefix=channel.private_prefix,
        namespace_boundary=channel.namespace_boundary,
        user_boundary=channel.user_boundary,
        user_separator=channel.user_separator,
        personal=personal.enabled,
        personal_namespace=personal.personal_channel_namespace,
    )


def token_settings(config: Config) -> tuple[TokenSettings, TokenSettings | None]:
    """Keys of connection tokens, and of subscription tokens if they have their own."""
    client = config.client
    own = client.subscription_token
    return _token(client.token), _token(own) if own.enabled else None


def session_settings(config: Config) -> SessionSettings:
    """`client`, but for its tokens."""
    client = config.client
    to_disconnect = client.connect_code_to_unidirectional_disconnect
    return SessionSettings(
        insecure=client.insecure,
        allow_anonymous_connect_without_token=(
            client.allow_anonymous_connect_without_token
        ),
        disallow_anonymous_connection_tokens=(
            client.disallow_anonymous_connection_tokens
        ),
        user_id_http_header=client.user_id_http_header,
        ping_interval_s=client.ping_interval,
        pong_timeout_s=client.pong_timeout,
        stale_close_delay_s=client.stale_close_delay,
        expired_close_delay_s=client.expired_close_delay,
        expired_sub_close_delay_s=client.expired_sub_close_delay,
        presence_update_interval_s=client.presence_update_interval,
        channel_position_check_delay_s=client.channel_position_check_delay,
        **client_limits(config),
        concurrency=client.concurrency,
        connect_include_server_time=client.connect_include_server_time,
        single_connection=_is_single(config),
        allowed_origins=client.allowed_origins,
        uni_disconnects={
            each.code: Disconnect(each.to.code, each.to.reason)
            for each in to_disconnect.transforms
            if to_disconnect.enabled
        },
    )


def client_limits(config: Config) -> dict[str, Any]:
    """The numbers of `session_settings` that may change with clients connected."""
    client = config.client
    return {
        "channel_limit": client.channel_limit,
        "queue_max_size": client.queue_max_size,
        "connection_limit": client.connection_limit,
        "connection_rate_limit": client.connection_rate_limit,
        "user_connection_limit": client.user_connection_limit,
        "history_max_publication_limit": client.history_max_publication_limit,
        "recovery_max_publication_limit": client.recovery_max_publication_limit,
    }


def find_realtime_faults(config: Config) -> Iterator[str]:
    """Keys, patterns and origins that cannot be used; each with its path."""
    client = config.client
    for path, options in (
        ("channel.without_namespace", config.channel.without_namespace),
        *((f"channel.namespaces[{n.name}]", n) for n in config.channel.namespaces),
    ):
        yield from _find_bad_pattern(f"{path}.channel_regex", options.channel_regex)
    for section, token in (
        ("token", client.token),
        ("subscription_token", client.subscription_token),
    ):
        path = f"client.{section}"
        yield from _find_bad_pattern(f"{path}.audience_regex", token.audience_regex)
        yield from _find_bad_pattern(f"{path}.issuer_regex", token.issuer_regex)
        try:
            StaticKeys(rsa=token.rsa_public_key, ecdsa=token.ecdsa_public_key)
        except ValueError as error:
            yield f"{path}.{error}"
    try:
        Origins(client.allowed_origins)
    except ValueError as error:
        yield f"client.allowed_origins: {error}"


def _find_bad_pattern(path: str, pattern: str) -> Iterator[str]:
    if pattern:
        try:
            compile_pattern(pattern)
        except ValueError as error:
            yield f"{path} {scrub_quoted(str(error))}"


def _is_single(config: Config) -> bool:
    personal = config.client.subscribe_to_user_personal_channel
    return personal.enabled and personal.single_connection


def _options(configured: ChannelOptionsSection) -> ChannelOptions:
    values = {
        field.name: getattr(configured, field.name) for field in fields(ChannelOptions)
    }
    for name in _SECONDS:
        values[name] = int(values[name])
    return ChannelOptions(**values)


def _token(token: Token) -> TokenSettings:
    return TokenSettings(
        hmac_secret_key=token.hmac_secret_key.get_secret_value(),
        hmac_previous_secret_key=token.hmac_previous_secret_key.get_secret_value(),
        hmac_previous_secret_key_valid_until=(
            token.hmac_previous_secret_key_valid_until
        ),
        rsa_public_key=token.rsa_public_key,
        ecdsa_public_key=token.ecdsa_public_key,
        jwks_public_endpoint=token.jwks_public_endpoint,
        audience=token.audience,
        audience_regex=token.audience_regex,
        issuer=token.issuer,
        issuer_regex=token.issuer_regex,
        user_id_claim=token.user_id_claim,
    )
