from __future__ import annotations

import pytest

from tocsin.core.endpoints import (
    DEFAULT_ORIGINS,
    EndpointRules,
    is_public,
    parse_endpoint,
    parse_origin_rule,
)

STRICT = EndpointRules.of()
ANYWHERE = EndpointRules.of(["*"])
TESTING = EndpointRules.of(["*"], allow_private=True)


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://fcm.googleapis.com/fcm/send/a:b", "https://fcm.googleapis.com", ""),
        ("HTTPS://FCM.GoogleAPIs.com:443/x", "https://fcm.googleapis.com", "/x"),
        ("https://push.example:8443/x?token=a%3d#f", "", "/x?token=a%3d"),
        ("https://push.example", "https://push.example", "/"),
        ("https://push.example?x", "https://push.example", "/?x"),
    ],
)
def test_parts_of_an_endpoint(url: str, origin: str, path: str) -> None:
    """The origin has one spelling, as VAPID's audience needs; a fragment is dropped."""
    endpoint = parse_endpoint(url)
    assert endpoint.origin == (origin or "https://push.example:8443")
    assert endpoint.path == (path or "/fcm/send/a:b")
    assert endpoint.origin.endswith(str(endpoint.port)) == (endpoint.port != 443)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "push.example",
        "//push.example/",
        "http://push.example/",
        "ftp://push.example/",
        "https://",
        "https:///x",
        "https://user@push.example/",
        "https://user:pw@push.example/",
        "https://@push.example/",
        "https://push.example:0/",
        "https://push.example:99999/",
        "https://push.example:x/",
        "https://push.example./",
        "https://.push.example/",
        "https://push..example/",
        "https://push%2eexample/",
        "https://push.exämple/",
        "https://push.example\\@fcm.googleapis.com/",
        "https://push.example/a b",
        "https://push.example/\t",
        "https://push.example/\r\nHost: x",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://127.0.0.1./",
        "https://[::1]/",
        "https://[::ffff:8.8.8.8]/",
        "https://[fe80::1%25eth0]/",
        "https://[::1/",
        "https://8.8.8.8/",
        "https://push.example.0x/",
    ],
)
@pytest.mark.parametrize("rules", [STRICT, ANYWHERE], ids=["default", "any"])
def test_urls_that_no_origin_list_lets_through(rules: EndpointRules, url: str) -> None:
    """https, a name and no address: there is no way to switch that off by origins."""
    with pytest.raises(ValueError, match="https URL with a host name"):
        rules.check(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://127.0.0.1:8443/x", "https://127.0.0.1:8443"),
        ("https://[::0:1]/x", "https://[::1]"),
        ("https://localhost:1/x", "https://localhost:1"),
    ],
)
def test_addresses_pass_for_tests(url: str, origin: str) -> None:
    """allow_private lets addresses through, in their plain spelling."""
    assert TESTING.check(url).origin == origin


@pytest.mark.parametrize("url", ["https://127.1/", "https://0x7f000001/"])
def test_odd_spellings_never_pass(url: str) -> None:
    """Even for tests, what a resolver alone takes for an address is refused."""
    with pytest.raises(ValueError, match="https URL"):
        TESTING.check(url)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("fcm.googleapis.com", True),
        ("jmt17.google.com", True),
        ("mail.google.com", False),
        ("a.jmt17.google.com", False),
        ("web.push.apple.com", True),
        ("push.apple.com", False),
        ("wns2-par02p.notify.windows.com", True),
        ("a.b.notify.windows.com", True),
        ("updates.push.services.mozilla.com", True),
        ("googleapis.com", False),
        ("evilgoogleapis.com", False),
        ("fcm.googleapis.com.evil.example", False),
        ("fcm.googleapis.com:8443", False),
        ("metadata.google.internal", False),
        ("localhost", False),
    ],
)
def test_the_built_in_origins(host: str, allowed: bool) -> None:
    """Hosts below the browsers' push services on the usual port, and no others."""
    if allowed:
        assert STRICT.check(f"https://{host}/x").host == host
        return
    with pytest.raises(ValueError, match="allowed_endpoint_origins"):
        STRICT.check(f"https://{host}/x")


def test_the_origin_list_holds_for_private_addresses_too() -> None:
    """allow_private says nothing about origins."""
    rules = EndpointRules.of(["https://127.0.0.1:8443"], allow_private=True)
    rules.check("https://127.0.0.1:8443/x")
    for url in ("https://127.0.0.1/x", "https://127.0.0.2:8443/x"):
        with pytest.raises(ValueError, match="allowed_endpoint_origins"):
            rules.check(url)


@pytest.mark.parametrize(
    "text",
    [
        *DEFAULT_ORIGINS,
        "https://push.example",
        " https://push.example/ ",
        "https://push.example:8443",
        "https://*.push.example:8443",
        "https://127.0.0.1:8443",
        "https://[::1]:8443",
    ],
)
def test_origins_that_can_be_configured(text: str) -> None:
    """A host or all hosts below one, with or without a port."""
    parse_origin_rule(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "**",
        "push.example",
        "http://push.example",
        "https://",
        "https://*",
        "https://*.",
        "https://*.*.example",
        "https://a*.example",
        "https://push.example/path",
        "https://push.example?x",
        "https://user@push.example",
        "https://*.127.0.0.1",
        "https://push.example:*",
    ],
)
def test_origins_that_cannot(text: str) -> None:
    """What could be meant otherwise is refused."""
    with pytest.raises(ValueError, match="origin such as"):
        parse_origin_rule(text)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "2606:4700::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_public_addresses(address: str) -> None:
    """What lies on the internet, also behind a translation."""
    assert is_public(address)
    assert STRICT.admits(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.255",
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "100::1",
        "2001:db8::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2002:a00:1::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "no address",
        "",
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    """Loopback, private, unique local, link-local, shared, reserved, and wraps."""
    assert not is_public(address)
    assert not ANYWHERE.admits(address)
    assert TESTING.admits(address)
