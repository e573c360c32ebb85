from __future__ import annotations

import pytest

from tocsin.api.auth import HttpKeyGuard, KeyGuard


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
    assert not KeyGuard("k").allows(metadata)


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
    assert KeyGuard("k").allows(metadata)


def test_without_a_key() -> None:
    """No key means nobody, not even with an empty key in hand."""
    guard = KeyGuard("")
    assert guard.is_closed
    assert not guard.allows((("authorization", "apikey "),))


def test_insecure() -> None:
    """Insecure means everybody, also beside a key."""
    for guard in (KeyGuard("", insecure=True), KeyGuard("k", insecure=True)):
        assert guard.is_open
        assert not guard.is_closed
        assert guard.allows(())


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
    assert HttpKeyGuard("k").allows(headers, query) is passes


def test_http_keys_may_be_any_text() -> None:
    """A key beyond ASCII passes as the bytes of its UTF-8."""
    assert HttpKeyGuard("ü").allows({"X-API-Key": "ü"}, "")
    assert HttpKeyGuard("ü").allows({}, "api_key=%c3%bc")
    no_text = b"\xff".decode("utf-8", "surrogateescape")
    assert HttpKeyGuard(no_text).allows({"X-API-Key": no_text}, "")
    assert HttpKeyGuard(no_text).allows({}, "api_key=%ff")
    assert not HttpKeyGuard("\ufffd").allows({}, "api_key=%ff")


def test_http_without_a_key() -> None:
    """No key means nobody; insecure means everybody."""
    closed = HttpKeyGuard("")
    assert closed.is_closed
    assert not closed.allows({"X-API-Key": ""}, "api_key=")
    for guard in (HttpKeyGuard("", insecure=True), HttpKeyGuard("k", insecure=True)):
        assert guard.is_open
        assert guard.allows({}, "")
