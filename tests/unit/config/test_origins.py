from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from tocsin.config.origins import OptionalOrigin, Origin, Url


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("https://exp.host", "https://exp.host"),
        (" https://exp.host/ ", "https://exp.host"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://localhost", "http://localhost"),
    ],
)
def test_an_origin_is_scheme_and_host(given: str, taken: str) -> None:
    """Without the last slash; plain http on loopback only."""
    assert TypeAdapter(Origin).validate_python(given) == taken


@pytest.mark.parametrize(
    "given",
    [
        "exp.host",
        "ftp://exp.host",
        "https://",
        "https://exp.host/path",
        "https://exp.host?x=1",
        "https://user@exp.host",
        "https://exp.host:0",
        "https://exp.host:99999",
        "http://exp.host",
        "http://10.0.0.1",
        "",
    ],
)
def test_anything_else_is_no_origin(given: str) -> None:
    """A path would be appended to, and tokens travel on it."""
    with pytest.raises(ValidationError):
        TypeAdapter(Origin).validate_python(given)


def test_an_optional_origin_may_be_empty() -> None:
    """Another key decides then; what is given is checked as ever."""
    adapter = TypeAdapter(OptionalOrigin)
    assert adapter.validate_python(" ") == ""
    assert adapter.validate_python("https://a.b/") == "https://a.b"
    with pytest.raises(ValidationError):
        adapter.validate_python("http://a.b")


@pytest.mark.parametrize(
    "given", ["http://intra:8080/push?x=1", "https://a.b/c", "https://u:p@a.b/", ""]
)
def test_a_webhook_may_be_any_http_url(given: str) -> None:
    """Its operator is ours."""
    assert TypeAdapter(Url).validate_python(given) == given


@pytest.mark.parametrize(
    "given", ["a.b/c", "file:///etc/passwd", "https:///x", "http://a:0"]
)
def test_a_webhook_is_an_http_url(given: str) -> None:
    """With a host."""
    with pytest.raises(ValidationError):
        TypeAdapter(Url).validate_python(given)
