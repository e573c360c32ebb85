"""What a person reads where a process cannot open what its configuration names."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from tests.support import old_queue_tables
from tests.support.ports import free_port
from tests.support.verbs import run_verb

pytestmark = pytest.mark.system

PUSH = {"enabled_providers": ["expo"], "expo": {"access_token": "x"}}


def run(
    folder: Path,
    verb: str,
    *arguments: str,
    config: object,
    start: tuple[str, ...] = (),
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a verb, run by `start`."""
    (folder / "c.json").write_text(json.dumps(config))
    words = (verb, *arguments, "--config", "c.json")
    done = run_verb(folder, *words, start=start, timeout_s=90)
    return done.returncode, done.stdout, done.stderr


def errors(output: str) -> list[str]:
    """The texts of the log's errors."""
    lines = [json.loads(line) for line in output.splitlines() if line[:1] == "{"]
    return [line["event"] for line in lines if line["level"] == "error"]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no/x.db", "there is no folder"),
        ("folder", "it is a directory"),
        ("garbage.db", "file is not a database"),
    ],
)
def test_a_sqlite_file_that_cannot_be_used(
    tmp_path: Path, path: str, words: str
) -> None:
    """The key, the absolute path and the reason stand in one line."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbage.db").write_text("this is certainly no database\n" * 100)
    code, output, _ = run(
        tmp_path, "migrate", config={"database": {"sqlite": {"path": path}}}
    )
    assert code == 1
    (told,) = errors(output)
    where = f"database.sqlite.path: {tmp_path / path}: "
    assert told.startswith(f"cannot start: {where}")
    assert words in told
    assert "internal server error" not in told


def test_a_postgresql_that_is_down(tmp_path: Path) -> None:
    """Host and port are said with the driver's words, the password is not."""
    port = free_port()
    dsn = f"postgresql://u:hunter2@127.0.0.1:{port}/x"
    config = {"database": {"postgresql": {"dsn": dsn}}}
    code, output, _ = run(tmp_path, "migrate", config=config)
    assert code == 1
    (told,) = errors(output)
    place = f"PostgreSQL at 127.0.0.1:{port}/x: "
    assert told.startswith(f"cannot start: database.postgresql.dsn: {place}")
    assert "refused" in told
    assert "hunter2" not in output


def test_an_engine_that_is_down(tmp_path: Path) -> None:
    """As the database: key, address, reason, and no password."""
    port = free_port()
    address = f"redis://:hunter2@127.0.0.1:{port}/0"
    engine = {"type": "redis", "redis": {"address": address}}
    code, output, _ = run(tmp_path, "serve", config={"engine": engine})
    assert code == 1
    (told,) = errors(output)
    assert told.startswith("cannot start: engine.redis.address: Redis at ")
    assert f"127.0.0.1:{port}" in told
    assert "111" in told or "refused" in told
    assert "hunter2" not in output


def test_a_redis_queue_that_is_down(tmp_path: Path) -> None:
    """The queue's own key is named, with the driver's words."""
    port = free_port()
    queue = {"redis": {"address": f"redis://:hunter2@127.0.0.1:{port}/0"}}
    config = {"push_notifications": PUSH | {"queue": queue}}
    code, output, _ = run(tmp_path, "worker", config=config)
    assert code == 1
    (told,) = errors(output)
    key = "push_notifications.queue.redis.address"
    assert told.startswith(f"cannot start: {key}: Redis at ")
    assert "111" in told or "refused" in told
    assert "hunter2" not in output


def test_a_clickhouse_that_is_down(tmp_path: Path) -> None:
    """As the others; its ping at the start is what asks."""
    port = free_port()
    section = {
        "enabled": True,
        "clickhouse_dsn": [f"http://u:hunter2@127.0.0.1:{port}"],
        "export": {"notifications": {"enabled": True}},
    }
    config = {"clickhouse_analytics": section}
    code, output, _ = run(tmp_path, "funnel", "u1", config=config)
    assert code == 1
    (told,) = errors(output)
    key = "clickhouse_analytics.clickhouse_dsn"
    assert told.startswith(f"cannot start: {key}: http://127.0.0.1:{port}: ")
    assert "Connect call failed" in told
    assert "hunter2" not in output


def test_a_sqlite_file_that_cannot_be_written(tmp_path: Path) -> None:
    """A server that could only read would fail with the first registration."""
    without = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed, and root may write everything")
    config = {"database": {"sqlite": {"path": "x.db"}}}
    assert run(tmp_path, "migrate", config=config)[0] == 0
    (tmp_path / "x.db").chmod(0o444)
    start = without if os.geteuid() == 0 else ()
    code, output, _ = run(tmp_path, "serve", config=config, start=start)
    assert code == 1
    (told,) = errors(output)
    assert told.startswith(f"cannot start: database.sqlite.path: {tmp_path / 'x.db'}: ")
    assert told.endswith("this user may not read and write the file")


@pytest.mark.parametrize("verb", [("queue", "status"), ("funnel", "u1")])
def test_looking_makes_no_file(tmp_path: Path, verb: tuple[str, ...]) -> None:
    """A path that leads nowhere is told as it was looked for, and stays empty."""
    config = {"database": {"sqlite": {"path": "x.db"}}, "push_notifications": PUSH}
    code, output, _ = run(tmp_path, *verb, config=config)
    assert code == 2
    assert str(tmp_path / "x.db") in errors(output)[0]
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


@pytest.mark.parametrize("verb", [("queue", "status"), ("funnel", "u1")])
@pytest.mark.parametrize(
    ("revision", "words"),
    [("v0001", "run `tocsin migrate`"), ("v9999", "newer release"), ("", "no tables")],
)
def test_looking_migrates_nothing(
    tmp_path: Path, verb: tuple[str, ...], revision: str, words: str
) -> None:
    """A schema of another release is told, and stays as it was."""
    file = tmp_path / "x.db"
    with sqlite3.connect(file) as database:
        if revision:
            database.execute("CREATE TABLE tocsin_migrations (version_num TEXT)")
            database.execute("INSERT INTO tocsin_migrations VALUES (?)", [revision])
    database.close()
    config = {"database": {"sqlite": {"path": "x.db"}}, "push_notifications": PUSH}
    code, output, _ = run(tmp_path, *verb, config=config)
    assert code == 1
    assert words in errors(output)[0]
    with sqlite3.connect(file) as database:
        found = database.execute("SELECT name FROM sqlite_master").fetchall()
    database.close()
    assert found == ([("tocsin_migrations",)] if revision else [])


def test_looking_at_a_queue_without_tables(tmp_path: Path) -> None:
    """The registry is there, the queue is not: it is told, and none is made."""
    config: dict[str, object] = {"database": {"sqlite": {"path": "x.db"}}}
    assert run(tmp_path, "migrate", config=config)[0] == 0
    config["push_notifications"] = PUSH
    code, output, _ = run(tmp_path, "queue", "status", config=config)
    assert code == 1
    assert "run `tocsin migrate`" in errors(output)[0]
    assert run(tmp_path, "migrate", config=config)[0] == 0
    assert run(tmp_path, "queue", "status", config=config)[0] == 0


def test_a_queue_of_an_older_release(tmp_path: Path) -> None:
    """Looking tells what is behind; `migrate` takes the tables over."""
    config: dict[str, object] = {"database": {"sqlite": {"path": "x.db"}}}
    assert run(tmp_path, "migrate", config=config)[0] == 0
    config["push_notifications"] = PUSH

    async def make_old(step: int) -> None:
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'x.db'}")
        async with engine.begin() as connection:
            await old_queue_tables.migrate(connection, upto=step)
        await engine.dispose()

    for step in (3, 4):
        asyncio.run(make_old(step))
        code, output, _ = run(tmp_path, "queue", "status", config=config)
        assert code == 1
        assert f"at schema q000{step}" in errors(output)[0]
    assert run(tmp_path, "migrate", config=config)[0] == 0
    assert run(tmp_path, "queue", "status", config=config)[0] == 0


@pytest.mark.parametrize("door", ["grpc_api", "uni_grpc"])
def test_a_server_that_cannot_listen_takes_no_work(tmp_path: Path, door: str) -> None:
    """A busy port ends it in one line, before its worker has begun."""
    config: dict[str, dict[str, object]] = {
        "database": {"sqlite": {"path": "x.db"}},
        "http_server": {"address": "127.0.0.1", "port": 0},
        "grpc_api": {"port": 0},
        "push_notifications": dict(PUSH),
    }
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config.setdefault(door, {}).update(
            {"enabled": True, "address": "127.0.0.1", "port": port}
        )
        code, output, written = run(tmp_path, "serve", config=config)
    assert code == 1
    (told,) = errors(output)
    where = f"cannot listen on 127.0.0.1:{port}: the port is in use"
    assert told == f"{where}; stop what holds it, or set {door}.port to a free port"
    assert written == ""
    assert "worker started" not in output


@pytest.mark.parametrize("verb", ["serve", "worker", "migrate", "check-config"])
def test_a_dsn_that_libpq_refuses_ends_no_process_with_a_traceback(
    tmp_path: Path, verb: str
) -> None:
    """The option is named by every verb, before anything is opened."""
    dsn = "postgresql://u:hunter2@127.0.0.1:1/x?pgbouncer=true"
    config = {"database": {"postgresql": {"dsn": dsn}}, "push_notifications": PUSH}
    code, output, written = run(tmp_path, verb, config=config)
    assert (code, output) == (2, "")
    assert "database.postgresql.dsn: has the option pgbouncer" in written
    assert "database.postgresql.pgbouncer" in written
    assert "Traceback" not in written
    assert "hunter2" not in written
