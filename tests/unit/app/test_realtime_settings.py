from typing import Any

import pytest
from tests.support.tokens import ec_key, public_pem, rsa_key

from tocsin.app.realtime_settings import (
    find_realtime_faults,
    namespace_settings,
    session_settings,
    token_settings,
)
from tocsin.channels.namespaces import NamespaceSettings
from tocsin.config import Config
from tocsin.core.client_codes import Disconnect
from tocsin.sessions.settings import SessionSettings


def test_defaults_are_the_same_on_both_sides() -> None:
    """A room built without configuration behaves as one with an empty one."""
    config = Config()
    assert namespace_settings(config) == NamespaceSettings()
    assert session_settings(config) == SessionSettings()
    connection, subscription = token_settings(config)
    assert connection.hmac_secret_key == ""
    assert subscription is None


def test_everything_configured_arrives() -> None:
    """Options of namespaces in whole seconds, secrets as text, transforms as codes."""
    config = Config.model_validate(
        {
            "channel": {
                "without_namespace": {"presence": True},
                "namespaces": [
                    {
                        "name": "chat",
                        "history_size": 5,
                        "history_ttl": "60s",
                        "allowed_delta_types": ["fossil"],
                    }
                ],
                "max_length": 7,
                "user_separator": ";",
            },
            "client": {
                "token": {"hmac_secret_key": "s", "audience": "me"},
                "subscription_token": {"enabled": True, "hmac_secret_key": "t"},
                "subscribe_to_user_personal_channel": {
                    "enabled": True,
                    "personal_channel_namespace": "chat",
                    "single_connection": True,
                },
                "connect_code_to_unidirectional_disconnect": {
                    "enabled": True,
                    "transforms": [{"code": 109, "to": {"code": 4904, "reason": "x"}}],
                },
                "channel_limit": 3,
                "ping_interval": "30s",
            },
        }
    )
    settings = namespace_settings(config)
    assert settings.without_namespace.presence
    chat = settings.namespaces["chat"]
    assert (chat.history_size, chat.history_ttl) == (5, 60)
    assert isinstance(chat.history_ttl, int)
    assert chat.allowed_delta_types == ("fossil",)
    assert (settings.max_length, settings.user_separator) == (7, ";")
    assert (settings.personal, settings.personal_namespace) == (True, "chat")
    connection, subscription = token_settings(config)
    assert (connection.hmac_secret_key, connection.audience) == ("s", "me")
    assert subscription is not None
    assert subscription.hmac_secret_key == "t"
    sessions = session_settings(config)
    assert sessions.single_connection
    assert (sessions.channel_limit, sessions.ping_interval_s) == (3, 30.0)
    assert sessions.uni_disconnects == {109: Disconnect(4904, "x")}


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (
            {"channel": {"without_namespace": {"channel_regex": "("}}},
            "channel.without_namespace.channel_regex",
        ),
        (
            {"channel": {"namespaces": [{"name": "chat", "channel_regex": "["}]}},
            "channel.namespaces[chat].channel_regex",
        ),
        ({"client": {"token": {"audience_regex": "("}}}, "client.token.audience_regex"),
        (
            {"client": {"subscription_token": {"issuer_regex": "("}}},
            "client.subscription_token.issuer_regex",
        ),
        ({"client": {"token": {"rsa_public_key": "x"}}}, "client.token.rsa_public_key"),
        (
            {"client": {"token": {"ecdsa_public_key": public_pem(rsa_key())}}},
            "client.token.ecdsa_public_key",
        ),
        ({"client": {"allowed_origins": ["["]}}, "client.allowed_origins"),
    ],
)
def test_what_cannot_be_used_is_found_without_starting(
    content: dict[str, Any], path: str
) -> None:
    """For check-config and the start alike."""
    (fault,) = find_realtime_faults(Config.model_validate(content))
    assert fault.startswith(path)


def test_good_keys_and_patterns_have_no_fault() -> None:
    """Also the private ones among patterns of Go."""
    config = Config.model_validate(
        {
            "client": {
                "token": {
                    "rsa_public_key": public_pem(rsa_key()),
                    "ecdsa_public_key": public_pem(ec_key("ES512")),
                    "issuer_regex": r"^(?P<realm>[[:alnum:]]+)\z",
                },
                "allowed_origins": ["https://*.example.com"],
            }
        }
    )
    assert list(find_realtime_faults(config)) == []
