"""Every form of an address of Redis, and what is told of one that is wrong."""

from __future__ import annotations

import pytest

from tocsin.config.redis_addresses import (
    Login,
    RedisAddress,
    RedisTls,
    parse_redis,
)

SENTINEL = "redis+sentinel://s1:1?sentinel_master_name=m"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h:1", RedisAddress("server", (("h", 1),))),
        (" [::1]:6379 ", RedisAddress("server", (("::1", 6379),))),
        ("redis://h", RedisAddress("server", (("h", 6379),))),
        ("tcp://h:2", RedisAddress("server", (("h", 2),))),
        ("redis://[fe80::1]:7", RedisAddress("server", (("fe80::1", 7),))),
        (
            "redis://u:p%40%2F@h:1/2",
            RedisAddress("server", (("h", 1),), login=Login("u", "p@/"), db=2),
        ),
        ("redis://:p@h", RedisAddress("server", (("h", 6379),), login=Login("", "p"))),
        ("rediss://h", RedisAddress("server", (("h", 6379),), tls=RedisTls())),
        (
            "redis://h?tls_enabled=true",
            RedisAddress("server", (("h", 6379),), tls=RedisTls()),
        ),
        (
            (
                "rediss://h?tls_server_ca_pem=ca.pem&tls_cert_pem=c&tls_key_pem=k"
                "&tls_server_name=n&tls_insecure_skip_verify=true"
            ),
            RedisAddress(
                "server", (("h", 6379),), tls=RedisTls("ca.pem", "c", "k", "n", False)
            ),
        ),
        (
            (
                "redis://h?connect_timeout=500ms&io_timeout=3s&db=4&client_name=t"
                "&force_resp2=true"
            ),
            RedisAddress(
                "server",
                (("h", 6379),),
                db=4,
                connect_timeout_s=0.5,
                io_timeout_s=3,
                client_name="t",
                force_resp2=True,
            ),
        ),
        ("unix:///run/r%20s.sock", RedisAddress("socket", path="/run/r s.sock")),
        (
            "unix://u:p@/r.sock?db=3",
            RedisAddress("socket", path="/r.sock", login=Login("u", "p"), db=3),
        ),
        (
            f"{SENTINEL}&addr=s2&addr=s3:3&sentinel_user=a&sentinel_password=b%26",
            RedisAddress(
                "sentinel",
                (("s1", 1), ("s2", 26379), ("s3", 3)),
                master_name="m",
                sentinel_login=Login("a", "b&"),
            ),
        ),
        (
            "redis+sentinel://u:p@s1/5?sentinel_master_name=m",
            RedisAddress(
                "sentinel",
                (("s1", 26379),),
                login=Login("u", "p"),
                db=5,
                master_name="m",
            ),
        ),
        (
            "rediss+sentinel://s1:1?sentinel_master_name=m",
            RedisAddress(
                "sentinel",
                (("s1", 1),),
                tls=RedisTls(),
                master_name="m",
                sentinel_tls=RedisTls(),
            ),
        ),
        (
            "rediss+sentinel://s1:1?sentinel_master_name=m&sentinel_tls_enabled=false",
            RedisAddress("sentinel", (("s1", 1),), tls=RedisTls(), master_name="m"),
        ),
        (
            "redis+cluster://u:p@a:1?addr=b:2&addr=a:1&addr=c",
            RedisAddress(
                "cluster", (("a", 1), ("b", 2), ("c", 6379)), login=Login("u", "p")
            ),
        ),
        (
            "rediss+cluster://a/0",
            RedisAddress("cluster", (("a", 6379),), tls=RedisTls()),
        ),
    ],
)
def test_a_form_is_read(text: str, expected: RedisAddress) -> None:
    """Each part where it belongs, and the documented defaults for the others."""
    assert parse_redis(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must be host:port"),
        ("h", "must be host:port"),
        ("h:0", "must be host:port"),
        ("h:65536", "must be host:port"),
        ("h:1:2", "must be host:port"),
        ("http://h", r"URL with redis, tcp, .*rediss\+cluster"),
        ("redis://", "no host"),
        ("redis+cluster://?addr=h:1", "no host"),
        ("redis://[::1:6", "brackets"),
        ("redis://h:port", "host and a port"),
        ("redis://h/x", "number from 0 to 10000"),
        ("redis://h/10001", "number from 0 to 10000"),
        ("redis://h/1?db=2", "two databases"),
        ("redis://h#1", "%23"),
        ("redis://h?io_timeout=4", "io_timeout: must be a duration"),
        ("redis://h?connect_timeout=0", "connect_timeout: must be more than 0"),
        ("redis://h?connect_timeout=", "connect_timeout is empty"),
        ("redis://h?io_timeout=1s&io_timeout=2s", "io_timeout is there twice"),
        ("redis://h?socket_timeout=1", "here are: db, connect_timeout, io_timeout"),
        ("redis://h?addr=h2:1", "not known"),
        ("redis://h?force_resp2=maybe", "force_resp2: must be true or false"),
        ("redis://h?tls_server_name=n", "tls_server_name needs TLS"),
        ("rediss://h?tls_cert_pem=c", "must be set together"),
        ("unix://r.sock", "three slashes"),
        ("unix://", "path is missing"),
        ("unix:///r.sock?tls_enabled=true", "not known"),
        ("redis+sentinel://h:1", "needs sentinel_master_name"),
        (f"{SENTINEL}&addr=h:x", "must be host:port"),
        ("redis+cluster://h/1", "database 0 only"),
        ("redis+cluster://h?db=1", "database 0 only"),
        ("redis+cluster://h?sentinel_master_name=m", "not known"),
    ],
)
def test_a_wrong_form_is_told(text: str, why: str) -> None:
    """With the part that is wrong and what would be right."""
    with pytest.raises(ValueError, match=why):
        parse_redis(text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://user:secret@h:port",
        "redis://user:secret@h/x",
        "redis://user:se?secret=1@h",
        "redis://user:se/secret@h",
        "secret://h",
        "redis+sentinel://h?sentinel_password=secret",
        "redis://:secret@h#x",
    ],
)
def test_no_value_is_repeated(text: str) -> None:
    """The message lands in a log."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse_redis(text)
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(caught.value)


def test_secrets_are_not_shown() -> None:
    """Neither a password nor a key."""
    address = parse_redis(
        "rediss+sentinel://u:hunter2@s?sentinel_master_name=m"
        "&sentinel_password=hunter3&tls_cert_pem=c&tls_key_pem=hunter4"
    )
    assert address.login.password == "hunter2"
    assert "hunter" not in repr(address)
