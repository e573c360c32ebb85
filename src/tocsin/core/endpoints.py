"""Where a Web Push subscription may make this server connect to. Pure rules.

A subscription comes from a browser, so its URL is anybody's choice: these rules keep
requests out of private networks. Nothing here resolves a name or connects.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

DEFAULT_ORIGINS: tuple[str, ...] = (
    "https://*.googleapis.com",
    "https://jmt17.google.com",  # of Chromium builds other than Chrome
    "https://*.push.apple.com",
    "https://*.notify.windows.com",
    "https://*.push.services.mozilla.com",
)
"""The push services of the browsers."""

ANY_ORIGIN = "*"

_URL = re.compile(r"(https://[^/?#]*)([^#]*)", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_IPV4_IN_IPV6 = tuple(
    ipaddress.IPv6Network(prefix)
    for prefix in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "::ffff:0:0:0/96")
)
"""Prefixes whose last 32 bits are an IPv4 address that a packet may end at."""
_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b:1::/48",
        "2001::/23",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)
"""Special ranges that some releases of Python take for public ones."""

_SHAPE = "must be an https URL with a host name"
_SHAPE_OR_ADDRESS = "must be an https URL"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A push URL in parts; `origin` is `https://host[:port]`, always spelled alike."""

    origin: str
    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class OriginRule:
    """One entry of the allowlist: a host or all below it, and a port."""

    host: str
    port: int
    below: bool

    def allows(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint's origin is this one, or below it."""
        if endpoint.port != self.port:
            return False
        if self.below:
            return endpoint.host.endswith(self.host)
        return endpoint.host == self.host


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """What the configuration says about endpoints.

    `origins` is `None` where any is allowed. `allow_private` lets through hosts that
    are addresses and hosts that resolve to private ones: for tests.
    """

    origins: tuple[OriginRule, ...] | None
    allow_private: bool = False

    @classmethod
    def of(
        cls, origins: Iterable[str] = DEFAULT_ORIGINS, *, allow_private: bool = False
    ) -> EndpointRules:
        """From the texts of the configuration; raises ValueError."""
        texts = tuple(origins)
        if ANY_ORIGIN in texts:
            return cls(None, allow_private)
        return cls(tuple(map(parse_origin_rule, texts)), allow_private)

    @classmethod
    def configured(
        cls, allowed: Sequence[str], extra: Sequence[str], *, allow_private: bool
    ) -> EndpointRules:
        """`allowed` replaces the built-in origins unless empty; `extra` adds."""
        origins = [*(allowed or DEFAULT_ORIGINS), *extra]
        return cls.of(origins, allow_private=allow_private)

    def check(self, url: str) -> Endpoint:
        """The endpoint in parts; ValueError says which rule it breaks."""
        endpoint = parse_endpoint(url, allow_address=self.allow_private)
        if self.origins is not None and not any(
            rule.allows(endpoint) for rule in self.origins
        ):
            raise ValueError(
                "origin is not in push_notifications.webpush.allowed_endpoint_origins"
            )
        return endpoint

    def admits(self, address: str) -> bool:
        """Whether a numeric address that a host resolved to may be dialled."""
        return self.allow_private or is_public(address)


def parse_endpoint(url: str, *, allow_address: bool = False) -> Endpoint:
    """A push URL in parts; raises ValueError for any other text.

    Only https, a plain host name (no address in any spelling unless `allow_address`)
    and no user name; a fragment is dropped, for it is never sent.
    """
    # Control characters, spaces and `\` are refused first: parsers differ in what they
    # drop, so what is checked here could be another host when it is dialled.
    odd = not url.isascii() or not url.isprintable() or " " in url or "\\" in url
    match = None if odd else _URL.match(url)
    if match is None:
        raise ValueError(_SHAPE_OR_ADDRESS if allow_address else _SHAPE)
    start, path = match.groups()
    origin, host, port = _parse_origin(start, allow_address)
    return Endpoint(origin, host, port, path if path[:1] == "/" else f"/{path}")


# Few origins in many endpoints: only the path of each is new.
@functools.lru_cache(maxsize=1024)
def _parse_origin(start: str, allow_address: bool) -> tuple[str, str, int]:
    """The one spelling of an origin, its host and its port."""
    reason = _SHAPE_OR_ADDRESS if allow_address else _SHAPE
    try:
        parts = urlsplit(start)
        host = parts.hostname or ""
        port = 443 if parts.port is None else parts.port
    except ValueError:
        raise ValueError(reason) from None
    # A user name could make the host look like another one.
    if "@" in parts.netloc or not port:
        raise ValueError(reason)
    if _is_address(host):
        if not allow_address:
            raise ValueError(reason)
        # One spelling of an address: `[::1]` and `[0:0::1]` are one origin.
        host = ipaddress.ip_address(host).compressed
    elif not _is_name(host):
        raise ValueError(reason)
    name = f"[{host}]" if ":" in host else host
    return f"https://{name}" if port == 443 else f"https://{name}:{port}", host, port


def parse_origin_rule(text: str) -> OriginRule:
    """`https://host[:port]`, or `https://*.host` for all below; raises ValueError."""
    reason = "must be * or an origin such as https://*.googleapis.com"
    scheme, slashes, rest = text.strip().lower().partition("://")
    below = rest.startswith("*.")
    if scheme != "https" or not slashes or re.search(r"[/?#@\\\s]", rest.rstrip("/")):
        raise ValueError(reason)
    try:
        endpoint = parse_endpoint(
            f"https://{rest.removeprefix('*.')}", allow_address=not below
        )
    except ValueError:
        raise ValueError(reason) from None
    # With the dot, so that `*.a.com` does not let in `evila.com`.
    host = f".{endpoint.host}" if below else endpoint.host
    return OriginRule(host, endpoint.port, below)


def is_public(address: str) -> bool:
    """Whether a numeric address is one of the public internet.

    Not loopback, private, unique local, link-local, shared, unspecified, multicast,
    reserved, or an IPv6 form that wraps or tunnels to such an IPv4 address.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        # A packet to such an address may end at the IPv4 address in it, so that
        # is judged.
        for network in _IPV4_IN_IPV6:
            if ip in network:
                ip = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
                break
        else:
            if ip.sixtofour is not None and not _is_global(ip.sixtofour):
                return False
    return _is_global(ip)


def _is_global(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    # is_global alone calls multicast public.
    return ip.is_global and not (
        ip.is_multicast
        or ip.is_reserved
        or ip.is_private
        or ip.is_link_local
        or any(ip in network for network in _NEVER if network.version == ip.version)
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_name(host: str) -> bool:
    # Resolvers read `127.1` and `0x7f000001` as addresses too: a name's last
    # label is never a number.
    last = host.rpartition(".")[2]
    return bool(_HOST.fullmatch(host)) and not _NUMBER.fullmatch(last)
