import hashlib

from tocsin.app.door_keys import DoorKeys
from tocsin.config import Config
from tocsin.core.rates import RateLimit

HEX = hashlib.sha256(b"hashed").hexdigest()


def test_each_door_has_its_own_keys() -> None:
    """The single key and the named ones; taken anew they replace the old."""
    named = [
        {"name": "a", "key": "plain", "methods": ["info"], "rate": "5/m"},
        {"name": "b", "key_sha256": HEX},
    ]
    keys = DoorKeys(
        Config.model_validate(
            {"http_api": {"key": "single", "keys": named}, "grpc_api": {"key": "other"}}
        )
    )
    assert keys.http.names == ["a", "b"]
    for key, name in ((b"single", ""), (b"plain", "a"), (b"hashed", "b")):
        caller = keys.http.find(key)
        assert caller is not None
        assert caller.name == name
        assert keys.grpc.find(key) is None
    limited = keys.http.find(b"plain")
    assert limited is not None
    assert limited.methods == {"info"}
    assert limited.rate == RateLimit(5, 60_000)
    assert keys.grpc.find(b"other") is not None
    assert keys.http_operators.is_closed
    assert keys.grpc_operators.is_closed

    keys.take(Config.model_validate({"http_api": {"insecure": True}}))
    assert keys.http.is_open
    assert keys.grpc.is_closed


def test_operators_have_admin_key_or_a_named_one_with_the_right() -> None:
    """Neither the API's key nor `*` nor insecure lets anybody in there."""
    named = [
        {"name": "all", "key": "1", "methods": ["*"]},
        {"name": "both", "key": "2", "methods": ["*", "admin.*"]},
        {"name": "some", "key": "3", "methods": ["admin.list_dead_letters"]},
    ]
    keys = DoorKeys(
        Config.model_validate(
            {
                "admin": {"key": "a"},
                "http_api": {"key": "single", "keys": named},
                "grpc_api": {"insecure": True},
            }
        )
    )
    assert not keys.grpc_operators.is_open
    assert keys.grpc_operators.names == ["admin.key"]
    assert keys.http_operators.names == ["both", "some", "admin.key"]
    assert keys.http_operators.find(b"single") is None
    both, admin = keys.http_operators.find(b"2"), keys.http_operators.find(b"a")
    assert both is not None
    assert admin is not None
    assert both.admit("info") is None
    assert both.admit("admin.list_dead_letters") is None
    assert admin.admit("admin.list_dead_letters") is None
    assert admin.admit("info") is not None
