from __future__ import annotations

import pytest

from tocsin.api.auth import (
    ANYBODY,
    AccessKey,
    HttpKeyGuard,
    KeyGuard,
    KeyRing,
    digest_of,
)
from tocsin.core.api_methods import API_METHODS
from tocsin.core.errors import PermissionDenied, RateLimited
from tocsin.core.rates import RateLimit


def keys_of(*keys: str) -> KeyRing:
    return KeyRing(AccessKey(f"of-{key}", digest_of(key)) for key in keys)


def grpc_allows(key: str, metadata: object) -> bool:
    return KeyGuard(keys_of(key)).identify(metadata) is not None  # type: ignore[arg-type]


def http_allows(key: str, headers: dict[str, str], query: str) -> bool:
    return HttpKeyGuard(keys_of(key)).identify(headers, query) is not None


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        (),
        (("authorization", ""),),
        (("authorization", "k"),),
        (("authorization", "apikey"),),
        (("authorization", "apikey "),),
        (("authorization", "apikey  k"),),
        (("authorization", "apikey k "),),
        (("authorization", "Apikey k"),),
        (("authorization", "apikey K"),),
        (("authorization", "Bearer k"),),
        (("authorization", "apikey kk"),),
        (("x-api-key", "k"),),
        (("authorization", "apikey no"), ("authorization", "apikey k")),
        (("authorization", "apikey \u212a"),),
    ],
)
def test_refused(metadata: tuple[tuple[str, str], ...] | None) -> None:
    """Only the exact first value passes."""
    assert not grpc_allows("k", metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "apikey k"),),
        (("authorization", b"apikey k"),),
        (("user-agent", "x"), ("authorization", "apikey k"), ("authorization", "no")),
    ],
)
def test_allowed(metadata: tuple[tuple[str, str | bytes], ...]) -> None:
    """The key passes, wherever in the metadata its first value stands."""
    assert grpc_allows("k", metadata)


def test_without_a_key() -> None:
    """No key means nobody, not even with an empty key in hand."""
    keys = KeyRing([AccessKey("", digest_of(""))])
    guard, http = KeyGuard(keys), HttpKeyGuard(keys)
    assert guard.identify((("authorization", "apikey "),)) is None
    assert http.identify({"X-API-Key": ""}, "api_key=") is None
    assert KeyRing().is_closed
    assert not KeyRing().is_open


def test_insecure() -> None:
    """Insecure means everybody, also beside a key."""
    for keys in (KeyRing(insecure=True), KeyRing([AccessKey("", b"")], insecure=True)):
        assert keys.is_open
        assert not keys.is_closed
        assert KeyGuard(keys).identify(()) is ANYBODY
        assert HttpKeyGuard(keys).identify({}, "") is ANYBODY


@pytest.mark.parametrize(
    ("headers", "query", "passes"),
    [
        ({"X-API-Key": "k"}, "", True),
        ({"X-API-Key": "no"}, "", False),
        ({"X-API-Key": "no", "Authorization": "apikey k"}, "", False),
        ({"X-API-Key": "", "Authorization": "apikey k"}, "", True),
        ({"Authorization": "APIKEY  k "}, "", True),
        ({"Authorization": "apikey k k"}, "", False),
        ({"Authorization": "k"}, "", False),
        ({"X-API-Key": "no"}, "api_key=k", True),
        ({}, "a=1&api_key=k", True),
        ({}, "api_key=%6b", True),
        ({}, "api_key=no&api_key=k", False),
        ({}, "api_key", False),
        ({}, "&" * 1000, False),
        ({}, "api_key=k" + "&a=1" * 99, True),
        ({}, "api_key=k" + "&a=1" * 100, False),
        ({"X-API-Key": "\udcff"}, "api_key=%ff", False),
        ({}, "", False),
    ],
)
def test_http_forms(headers: dict[str, str], query: str, passes: bool) -> None:
    """Three forms of the key, in the published order."""
    assert http_allows("k", headers, query) is passes


def test_http_keys_may_be_any_text() -> None:
    """A key beyond ASCII passes as the bytes of its UTF-8."""
    assert http_allows("ü", {"X-API-Key": "ü"}, "")
    assert http_allows("ü", {}, "api_key=%c3%bc")
    no_text = b"\xff".decode("utf-8", "surrogateescape")
    assert http_allows(no_text, {"X-API-Key": no_text}, "")
    assert http_allows(no_text, {}, "api_key=%ff")
    assert not http_allows("\ufffd", {}, "api_key=%ff")


def test_each_key_is_known_by_its_name() -> None:
    """In both doors; who has none of them is a stranger."""
    keys = keys_of("a", "b")
    for name in ("a", "b"):
        for caller in (
            KeyGuard(keys).identify((("authorization", f"apikey {name}"),)),
            HttpKeyGuard(keys).identify({"X-API-Key": name}, ""),
        ):
            assert caller is not None
            assert caller.name == f"of-{name}"
    assert HttpKeyGuard(keys).identify({"X-API-Key": "of-a"}, "") is None
    assert keys.names == ["of-a", "of-b"]


def admitted(keys: KeyRing, key: str, method: str) -> type | None:
    caller = keys.find(key.encode())
    assert caller is not None
    error = caller.admit(method)
    return None if error is None else type(error)


def test_a_method_outside_of_the_keys_set_is_denied() -> None:
    """A key without a set may call the whole API, and nothing of the operators'."""
    some = AccessKey("some", digest_of("s"), frozenset({"info", "admin.purge"}))
    keys = KeyRing([some, AccessKey("all", digest_of("a"))])
    assert admitted(keys, "s", "info") is None
    assert admitted(keys, "s", "admin.purge") is None
    assert admitted(keys, "s", "publish") is PermissionDenied
    for method in API_METHODS:
        assert admitted(keys, "a", method) is None
    assert admitted(keys, "a", "admin.purge") is PermissionDenied
    assert ANYBODY.admit("admin.purge") is not None


def test_a_rate_is_a_bucket_of_the_key() -> None:
    """As many calls as it says at once; a denied one takes nothing of it."""
    limited = AccessKey(
        "l", digest_of("l"), frozenset({"info"}), RateLimit(2, 3_600_000)
    )
    keys = KeyRing([limited, AccessKey("free", digest_of("f"))])
    assert admitted(keys, "l", "publish") is PermissionDenied
    assert admitted(keys, "l", "info") is None
    assert admitted(keys, "l", "info") is None
    assert admitted(keys, "l", "info") is RateLimited
    assert admitted(keys, "f", "info") is None
    caller = keys.find(b"l")
    assert caller is not None
    error = caller.admit("info")
    assert isinstance(error, RateLimited)
    assert 1799 < error.retry_after_s <= 1800


def test_replaced_keys_hold_at_once() -> None:
    """Old ones are strangers, new ones known; insecure can end."""
    keys = KeyRing([AccessKey("old", digest_of("o"))], insecure=True)
    keys.replace([AccessKey("new", digest_of("n"))])
    assert not keys.is_open
    assert keys.find(b"o") is None
    assert keys.find(b"n") is not None
    keys.replace([])
    assert keys.is_closed


def test_a_replaced_key_begins_with_what_its_name_has_used_up() -> None:
    """A rotation or a reload gives no calls beyond the rate; another rate is fresh."""
    rate = RateLimit(1, 3_600_000)
    keys = KeyRing([AccessKey("a", digest_of("1"), rate=rate)])
    assert admitted(keys, "1", "info") is None
    keys.replace([AccessKey("a", digest_of("2"), rate=rate)])
    assert admitted(keys, "2", "info") is RateLimited
    other = RateLimit(2, 3_600_000)
    keys.replace([AccessKey("a", digest_of("2"), rate=other)])
    assert admitted(keys, "2", "info") is None
