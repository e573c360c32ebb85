"""A PostgreSQL dsn is read once, as libpq reads it, and shown without a secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tocsin.config import Config, ConfigError, load_config
from tocsin.config.postgres_dsns import parse_postgres

KEYS = (
    "database.postgresql.dsn",
    "database.postgresql.replica_dsn",
    "push_notifications.queue.postgresql.dsn",
)
SIGNS = "#/?@%:&= ,;'\"\\[]{}$+!*()<>|^`~é€"


@pytest.mark.parametrize(
    ("dsn", "shown", "place"),
    [
        ("postgresql://u:hunter2@h/x", "postgresql://u:***@h/x", "h/x"),
        ("postgres://h/x", "postgresql://h/x", "h/x"),
        ("postgresql://u:hun#ter2@h/x", "postgresql://u:***@h/x", "h/x"),
        ("postgresql://u:hun?ter2@h/x", "postgresql://u:***@h/x", "h/x"),
        ("postgresql://u:hun:ter2@h/x", "postgresql://u:***@h/x", "h/x"),
        (
            "postgresql://h/x?password=hunter2&sslmode=require",
            "postgresql://:***@h/x?sslmode=require",
            "h/x",
        ),
        (
            "postgresql://u@h/x?sslpassword=hunter2&passfile=hunter2",
            "postgresql://u@h/x?passfile=***&sslpassword=***",
            "h/x",
        ),
        (
            "postgresql://u:hunter2@a:1,b:2/x?target_session_attrs=primary",
            "postgresql://u:***@a:1,b:2/x?target_session_attrs=primary",
            "a:1,b:2/x",
        ),
        ("postgresql://u:hunter2@[::1]:5/x", "postgresql://u:***@[::1]:5/x", "::1:5/x"),
        ("postgresql:///x?host=/run/pg", "postgresql://%2Frun%2Fpg/x", "/run/pg/x"),
        ("postgresql://%2Frun%2Fpg/x", "postgresql://%2Frun%2Fpg/x", "/run/pg/x"),
        (
            "user=u host=h password='hun ter2' dbname=x",
            "host=h dbname=x user=u password=***",
            "h/x",
        ),
        ("host=/run/pg dbname='a b'", "host=/run/pg dbname='a b'", "/run/pg/a b"),
        ("host=h\n  dbname=x\n", "host=h dbname=x", "h/x"),
        ("service=mine", "service=***", "the local socket"),
    ],
)
def test_a_dsn_is_shown_by_its_parts(dsn: str, shown: str, place: str) -> None:
    """In the form it was written; the password never."""
    read = parse_postgres(dsn)
    assert (read.masked(), read.place) == (shown, place)
    assert read.arguments == conninfo_to_dict(dsn)
    assert "hunter2" not in repr(read)


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        ("postgresql://u:hunter2@h/x?pgbouncer=true", "database.postgresql.pgbouncer"),
        ("host=h password=hunter2 pgbouncer=true", "the option pgbouncer"),
        ("postgresql://u:hunter2@h/x?pool_max_conns=4", "pool_max_size"),
        ("postgresql://u:hunter2@h/x?schema=s", "search_path"),
        ("postgresql://u:hunter2@h/x?sslmod=require", "sslmod.*did you mean sslmode"),
        ("postgresql://u:hunter2@h/x?whatever=1", "the option whatever"),
        ("postgresql://u:hunter2@h/x?", None),
        ("postgresql://u:hun%zzter2@h/x", "write % itself as %25"),
        ("postgresql://u:hunter2%@h/x", "write % itself as %25"),
        ("postgresql://u:hunter2@h/x?application_name=%zz", "write % itself as %25"),
        ("postgresql://u:hun%00ter2@h/x", "%00"),
        ("postgresql://u:hun ter2@h/x", "blank"),
        ("postgresql://u:hun/ter2@h/x", "%2F"),
        ("postgresql://u:hun@ter2@h/x", "%40"),
        ("postgresql://u:12/hunter2@h/x", "%2F"),
        ("postgresql://u:6?hunter2=x/y@h", "%3F"),
        ("postgresql://u:/hunter2@h/x", "%2F"),
        ("postgresql://u:hunter2@h:many/x", "port that is none"),
        ("postgresql://u:hunter2@h:70000/x", "port that is none"),
        ("host=a,b port=1,2,3 password=hunter2", "one port, or one for each"),
        ("postgresql://u:hunter2@h/x?sslmode=maybe", "sslmode must be one of"),
        ("postgresql://u:hunter2@h/x?connect_timeout=soon", "connect_timeout must be"),
        ("postgresql://u:hunter2@h/x?sslcertmode=maybe", "sslcertmode must be one of"),
        ("postgresql://u:hunter2@h/x?ssl_min_protocol_version=9", "TLSv1.2"),
        ("postgresql://u:hunter2@h/x?ssl_min_protocol_version=tlsv1.2", None),
        ("postgresql://u:hunter2@h/x?min_protocol_version=9", "latest"),
        ("postgresql://u:hunter2@h/x?sslnegotiation=direct", "needs an sslmode"),
        ("postgresql://u:hunter2@h/x?sslnegotiation=direct&sslmode=require", None),
        (
            "postgresql://u:hunter2@h/x?sslrootcert=system&sslmode=require",
            "verify-full",
        ),
        ("postgresql://u:hunter2@h/x?sslrootcert=system", None),
        ("postgresql://u:hunter2@h/x?require_auth=hunter2", "scram-sha-256"),
        ("postgresql://u:hunter2@h/x?require_auth=!none,md5", "before all"),
        ("postgresql://u:hunter2@h/x?require_auth=!none,!md5", None),
        ("postgresql://u:hunter2@h/x?replication=database", "takes no queries"),
        ("host=h hostaddr=db.example password=hunter2", "hostaddr must be"),
        ("host=a,b hostaddr=10.0.0.1,::1 password=hunter2", None),
        ("host=h dbname=postgresql://u:hunter2@h/x", "a dsn itself"),
        ("host=h password=hunter2 and more", "a value with blanks"),
        ("host=h password=hun hunter2=x", 'the option "hunt…"'),
        ("host=h password='hunter2", "nothing ends"),
        ("postgresql://u:${hunter2}@h/x", "placeholder"),
        ("postgresql://u:hun\tter2@h/x", "control character"),
        ("mysql://u:hunter2@h/x", "as libpq takes it"),
        ("postgresql+asyncpg://u:hunter2@h/x", "as libpq takes it"),
        ("jdbc:postgresql://h/x?password=hunter2", "as libpq takes it"),
        ("hunter2", "as libpq takes it"),
    ],
)
def test_a_dsn_that_cannot_be_used_is_refused_early(dsn: str, says: str | None) -> None:
    """With what to write instead, and with nothing of the password."""
    if says is None:
        parse_postgres(dsn)
        return
    with pytest.raises(ValueError, match=says) as raised:
        parse_postgres(dsn)
    assert "hunter2" not in str(raised.value)
    assert "ter2" not in str(raised.value)


@pytest.mark.parametrize("sign", SIGNS)
def test_a_password_with_any_sign(sign: str) -> None:
    """Escaped it is taken; unescaped it is what was written, or refused unshown."""
    password = f"hun{sign}ter2{sign}"
    escaped = f"postgresql://u:{quote(password, safe='')}@h/x"
    assert parse_postgres(escaped).password == password
    raw = f"postgresql://u:{password}@h/x"
    try:
        read = parse_postgres(raw)
    except ValueError as error:
        assert "ter2" not in str(error)  # noqa: PT017 - either end is right
    else:
        assert (read.password, read.place) == (password, "h/x")
        assert "ter2" not in read.masked()


@pytest.mark.parametrize("sign", SIGNS)
def test_libpq_agrees_with_what_is_taken(sign: str) -> None:
    """Whatever the check lets through the driver can read, to the same parts."""
    for dsn in (f"postgresql://u:a{sign}b@h/x", f"host=h password=a{sign}b"):
        try:
            read = parse_postgres(dsn)
        except ValueError:
            continue
        assert read.arguments == psycopg.conninfo.conninfo_to_dict(dsn)


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Config]:
    def load_it(content: object, **environ: str) -> Config:
        (tmp_path / "c.json").write_text(json.dumps(content))
        return load_config(str(tmp_path / "c.json"), environ=environ).config

    return load_it


@pytest.mark.parametrize("key", KEYS)
def test_every_dsn_is_checked_with_its_key(
    key: str, load: Callable[..., Config]
) -> None:
    """By file and by environment."""
    bad = "postgresql://u:hun/ter2@h/x?pgbouncer=true"
    variable = "TOCSIN_" + key.upper().replace(".", "_")
    for content, environ in (({key: bad}, {}), ({}, {variable: bad})):
        with pytest.raises(ConfigError) as raised:
            load(content, **environ)
        assert key in str(raised.value)
        assert "ter2" not in str(raised.value)


def test_replicas_in_one_text_keep_their_blanks_and_commas(
    load: Callable[..., Config],
) -> None:
    """A variable holds one dsn of words, or several URLs, each with several hosts."""
    variable = "TOCSIN_DATABASE_POSTGRESQL_REPLICA_DSN"
    for text, expected in (
        ("host=r1 dbname=d", ("host=r1 dbname=d",)),
        ("postgresql://a,b/d", ("postgresql://a,b/d",)),
        ("postgresql://a/d, postgres://b/d", ("postgresql://a/d", "postgres://b/d")),
        ('["host=a dbname=d", "host=b"]', ("host=a dbname=d", "host=b")),
    ):
        config = load({}, **{variable: text})
        assert config.database.postgresql.replica_dsn == expected


def test_secrets_of_addresses_are_known_for_the_log(
    load: Callable[..., Config],
) -> None:
    """As they are sent, and as they are written."""
    config = load(
        {
            "grpc_api.key": "key-hunter2",
            "database.dsn": "postgresql://u:hun%23ter2@h/x",
            "engine.redis.address": "redis://:hun%25ter2@h:1",
            "push_notifications": {
                "integrations": [
                    {
                        "identifier": "a",
                        "provider": "hms",
                        "app_id": "1",
                        "app_secret": "item-hunter2",
                    }
                ]
            },
        }
    )
    assert {
        *("key-hunter2", "hun#ter2", "hun%23ter2", "hun%ter2", "item-hunter2"),
    } <= config.secrets()
