"""The stage of one run: stores, provider and processes, and how each is set right."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis
from tests.disaster.children import Child
from tests.disaster.clocks import SteppedClock
from tests.disaster.schedule import TOPIC, Plan
from tests.disaster.witness import Witness
from tests.support.cut_line import Line, line_beside
from tests.support.fill import fill_postgres
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.redis_server import RedisServer, start_redis
from tests.support.simulated_fcm import Switch, switchable_simulator
from tests.support.tocsin_processes import COMMAND, fetch

from tocsin.simulator.fcm import Fcm

DRAIN_S = 5.0
_PREFIX = "tocsin"
_TEMPLATE = "template"


class Stage:
    """What a plan is played on; made anew for each run, but for PostgreSQL."""

    def __init__(
        self,
        plan: Plan,
        directory: Path,
        postgres: PostgresServer,
        database: str,
        switch: Switch,
        redis_server: RedisServer,
        line: Line | None,
    ) -> None:
        self.plan = plan
        self.directory = directory
        self.postgres = postgres
        self.dsn = postgres.database_dsn(database)
        self.switch = switch
        self.redis = redis_server
        self.replica: RedisServer | None = None
        self.line = line
        self.doors = [free_port() for _ in range(plan.servers)]
        self.clocks: dict[str, SteppedClock] = {}
        self.config_file = directory / "tocsin.json"
        self.config_file.write_text(json.dumps(self._config(), indent=1))
        self.children = {child.name: child for child in self._children()}

    @property
    def witness(self) -> Witness:
        simulator = self.switch.simulator
        assert isinstance(simulator, Witness)
        return simulator

    def tell_provider(self, act: Callable[[Witness], object]) -> None:
        """Do something to the imitation, in its own thread."""

        async def do() -> None:
            act(self.witness)

        self.switch.run(do())

    def _config(self) -> dict[str, Any]:
        plan, simulator = self.plan, self.switch.simulator
        queue: dict[str, Any] = {"type": "database"}
        if plan.queue == "redis":
            port = self.redis.port if self.line is None else self.line.port
            queue = {"type": "redis", "redis": {"address": f"127.0.0.1:{port}"}}
        return {
            "http_server": {"port": self.doors[0]},
            "http_api": {"key": "k"},
            "grpc_api": {"enabled": False},
            "shutdown": {"timeout": f"{DRAIN_S}s"},
            "database": {"postgresql": {"dsn": self.dsn}},
            "push_notifications": {
                "enabled_providers": ["fcm"],
                "queue": queue,
                "retry": {
                    "takeover": f"{plan.takeover_s}s",
                    "first_delay": "300ms",
                    "max_delay": "2s",
                },
                "fcm": {
                    "credentials_file": str(simulator.of(Fcm).account_file),
                    "endpoint": simulator.origin,
                    "ca_file": str(simulator.ca_file),
                    "tokens_batch_size": plan.batch_size,
                    "max_connections": plan.connections,
                },
            },
        }

    def _children(self) -> Iterator[Child]:
        config = ("--config", str(self.config_file))
        for number, port in enumerate(self.doors):
            ports = ("--http_server.port", str(port))
            yield self._child(f"server{number}", "serve", *config, *ports)
        for number in range(self.plan.workers):
            yield self._child(f"worker{number}", "worker", *config)

    def _child(self, name: str, *arguments: str) -> Child:
        environ: dict[str, str] = {}
        if any(f.kind == "clock steps" and f.target == name for f in self.plan.faults):
            clock = self.clocks[name] = SteppedClock(self.directory / f"{name}.clock")
            environ = clock.environ()
        return Child(name, arguments, self.directory, environ)

    def begin(self) -> None:
        """Start every process on a filled registry, and wait until calls are taken."""
        faults = self.witness.faults
        faults.latency_ms, faults.max_streams = self.plan.latency_ms, self.plan.streams
        fill_postgres(self.dsn, self.plan.devices, TOPIC)
        for child in self.children.values():
            child.start()
        self.wait_ready(self.doors)

    def wait_ready(self, doors: list[int], *, deadline_s: float = 40.0) -> None:
        """Wait until `/ready` says so at each of these doors."""
        end = time.monotonic() + deadline_s
        for port in doors:
            while fetch(f"http://127.0.0.1:{port}/ready")[0] != 200:
                self.supervise()
                if time.monotonic() > end:
                    raise TimeoutError(f"no server is ready on port {port}")
                time.sleep(0.05)

    def supervise(self) -> None:
        """Start again what ended by itself."""
        for child in self.children.values():
            child.supervise()

    def unfinished(self) -> int:
        """Entries of the queue, in hands or not; raises while it cannot be asked."""
        if self.plan.queue == "redis":
            with redis.Redis(port=self.redis.port, socket_timeout=2) as client:
                names = f"{{{_PREFIX}}}:"
                streams = client.keys(f"{names}stream:*")
                delayed = client.keys(f"{names}delayed:*")
                return int(
                    sum(map(client.xlen, streams)) + sum(map(client.zcard, delayed))
                )
        with psycopg.connect(self.dsn, connect_timeout=2) as one:
            row = one.execute("SELECT count(*) FROM queue_jobs").fetchone()
            return 0 if row is None else int(row[0])

    def open_sends(self) -> int:
        """Sends that are not over by the send log; raises as `unfinished`."""
        query = "SELECT count(*) FROM push_sends WHERE ended_at_ms = 0"
        with psycopg.connect(self.dsn, connect_timeout=2) as one:
            row = one.execute(query).fetchone()
            return 0 if row is None else int(row[0])

    def removed_tokens(self) -> set[str]:
        """Tokens of devices that were removed."""
        query = "SELECT token FROM devices WHERE removed_at_ms IS NOT NULL"
        with psycopg.connect(self.dsn) as one:
            return {row[0] for row in one.execute(query)}

    # -- what faults do to stores ---------------------------------------------

    def limit_files(self, size: int | None) -> None:
        """Let Redis write no file beyond its append-only one's size, or lift that."""
        limit = resource.RLIM_INFINITY
        if size is not None:
            files = sorted(self.redis.directory.glob("appendonlydir/*.incr.aof"))
            limit = files[-1].stat().st_size + size
        hard = resource.prlimit(self.redis.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.redis.pid, resource.RLIMIT_FSIZE, (limit, hard))

    def fill_tables(self) -> None:
        """Answer every INSERT and UPDATE as PostgreSQL does when its disk is full."""
        self._on_tables(
            "CREATE OR REPLACE TRIGGER disk_full BEFORE INSERT OR UPDATE ON {}"
            " FOR EACH STATEMENT EXECUTE FUNCTION disk_full()"
        )

    def empty_tables(self) -> None:
        """Make room again."""
        self._on_tables("DROP TRIGGER IF EXISTS disk_full ON {}")

    def _on_tables(self, statement: str) -> None:
        function = (
            "CREATE OR REPLACE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on"
            " device' USING ERRCODE = 'disk_full'; END $$"
        )
        with psycopg.connect(self.dsn, autocommit=True) as one:
            one.execute(function)
            found = one.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            for (table,) in found:
                one.execute(statement.format(table).encode())

    def copy_redis(self) -> Path:
        """A copy of its files as they are at this moment."""
        copy = self.directory / "redis-copy"
        shutil.copytree(self.redis.directory / "appendonlydir", copy)
        return copy

    def copy_postgres(self) -> Path:
        """A copy of its folder, taken while it is stopped for a moment."""
        copy = self.directory / "postgres-copy"
        self.postgres.stop()
        copied = shutil.copytree(self.postgres.directory / "data", copy)
        self.postgres.start_again()
        return Path(copied)

    def put_back_redis(self, copy: Path) -> None:
        """Let a stopped Redis find these files."""
        place = self.redis.directory / "appendonlydir"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(copy, place)

    def put_back_postgres(self, copy: Path) -> None:
        """Let a stopped PostgreSQL find this folder."""
        place = self.postgres.directory / "data"
        owner = place.stat()
        shutil.rmtree(place)
        shutil.copytree(copy, place)
        for path in [place, *place.rglob("*")]:
            os.chown(path, owner.st_uid, owner.st_gid)
        place.chmod(0o700)

    def start_replica(self) -> None:
        """A second Redis that follows the first."""
        place = self.directory / "replica"
        self.replica = start_redis(place, appendonly=True)
        with redis.Redis(port=self.replica.port) as client:
            # By a command: started again later, it must not follow anybody.
            client.execute_command("REPLICAOF", "127.0.0.1", self.redis.port)

    def close(self) -> None:
        """End every process of this run; nothing of it stays."""
        for child in self.children.values():
            child.tell(signal.SIGCONT)
            child.end(signal.SIGKILL)
        for server in filter(None, (self.redis, self.replica)):
            os.kill(server.pid, signal.SIGCONT) if server.is_running else None
            server.kill()


def make_template(postgres: PostgresServer, directory: Path) -> None:
    """The database that each run has a copy of: with tables, without rows."""
    config = {
        "database": {"postgresql": {"dsn": postgres.create_database(_TEMPLATE)}},
        "push_notifications": {
            "enabled_providers": ["fcm"],
            "dry_run": True,
            "queue": {"type": "database"},
        },
    }
    file = directory / "template.json"
    file.write_text(json.dumps(config))
    subprocess.run(
        [*COMMAND, "migrate", "--config", str(file)],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=60,
    )


@contextmanager
def open_stage(
    plan: Plan, directory: Path, postgres: PostgresServer, certificates: Path
) -> Iterator[Stage]:
    """Set the stage; `certificates` are kept between runs, since they take a while."""
    database = f"run_{plan.seed}"
    postgres.create_database(database, template=_TEMPLATE)
    with ExitStack() as stack:
        stack.callback(_drop, postgres, database)
        options = ("--repl-diskless-sync-delay", "0")
        server = start_redis(directory / "redis", appendonly=True, options=options)
        stack.callback(server.kill)
        line = None
        if plan.has("fails over"):
            line = stack.enter_context(line_beside(server.port))
        switch = stack.enter_context(
            switchable_simulator(certificates, port=free_port(), kind=Witness)
        )
        stage = Stage(plan, directory, postgres, database, switch, server, line)
        stack.callback(stage.close)
        yield stage


def _drop(postgres: PostgresServer, database: str) -> None:
    # Whoever presses Ctrl-C ends the servers as well: they share the terminal.
    with contextlib.suppress(psycopg.Error):
        postgres.drop_database(database)
