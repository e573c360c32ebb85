"""The configurations in deploy/ with the environment that they are given there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.wire_table import ROOT

from tocsin.config import load_config
from tocsin.config.postgres_dsns import parse_postgres

DEPLOY = ROOT / "deploy"
SECRETS = {
    "postgresql-dsn": "postgresql://tocsin@db/tocsin",
    "redis-address": "redis:6379",
}


def objects() -> list[Any]:
    text = (DEPLOY / "kubernetes" / "tocsin.yaml").read_text()
    return list(yaml.safe_load_all(text))


def kubernetes(role: str) -> tuple[str, dict[str, str]]:
    """Text of the configuration and environment of a deployment."""
    by_name = {(each["kind"], each["metadata"]["name"]): each for each in objects()}
    deployment = by_name["Deployment", f"tocsin-{role}"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environ = {
        each["name"]: SECRETS.get(each["valueFrom"]["secretKeyRef"]["key"], "secret")
        for each in container["env"]
    }
    return by_name["ConfigMap", "tocsin"]["data"]["config.json"], environ


def compose(secret: str = "secret") -> tuple[str, dict[str, str]]:
    settings = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    environ = {
        name: re.sub(r"\$\{[^}]*\}", lambda _: secret, value)
        for name, value in settings["services"]["api"]["environment"].items()
    }
    return (DEPLOY / "config" / "production.json").read_text(), environ


def load(text: str, environ: Mapping[str, str], folder: Path) -> Any:
    """The configuration; the service account lies elsewhere here."""
    account = folder / "service-account.json"
    account.write_text("{}")
    config = json.loads(text)
    config["push_notifications"]["fcm"]["credentials_file"] = str(account)
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    loaded = load_config(str(path), environ=dict(environ))
    assert loaded.warnings == []
    return loaded.config


@pytest.mark.parametrize("where", ["api", "worker", "compose"])
def test_several_servers_share_channels_and_queue(where: str, tmp_path: Path) -> None:
    """Both are in the one Redis that is named, and the registry in PostgreSQL."""
    text, environ = compose() if where == "compose" else kubernetes(where)
    config = load(text, environ, tmp_path)
    assert config.engine.type == "redis"
    assert config.engine.redis.urls == config.push_notifications.queue.redis.address
    assert config.queue_kind == "redis"
    assert config.database.postgresql.dsn


@pytest.mark.parametrize("sign", "/?#@:%&= '\"\\{$+é")
def test_any_password_fits_into_the_compose_file(sign: str, tmp_path: Path) -> None:
    """It is pasted as it is: into no URL, and the database gets the same."""
    secret = f"{sign}hun{sign}ter2{sign}"
    text, environ = compose(secret)
    config = load(text, environ, tmp_path)
    dsn = parse_postgres(config.database.postgresql.dsn)
    assert (dsn.place, dsn.password) == ("postgresql/tocsin", "")
    assert environ["PGPASSWORD"] == secret
    assert config.http_api.key.get_secret_value() == secret
    settings = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    database = settings["services"]["postgresql"]["environment"]
    ours = settings["x-tocsin"]["environment"]
    assert database["POSTGRES_PASSWORD"] == ours["PGPASSWORD"]
    for name, value in ours.items():
        assert "://" not in value or "${" not in value, name


def test_one_node_needs_no_service(tmp_path: Path) -> None:
    """Registry, queue and channels in one process."""
    text = (DEPLOY / "config" / "single-node.json").read_text()
    config = load(text, {}, tmp_path)
    assert config.worker_embedded
    assert config.engine.type == "memory"


def test_every_door_has_its_key() -> None:
    """Back ends and clients find both doors open to who shows a key or a token."""
    for environ in (compose()[1], kubernetes("api")[1]):
        assert {
            "TOCSIN_GRPC_API_KEY",
            "TOCSIN_HTTP_API_KEY",
            "TOCSIN_CLIENT_TOKEN_HMAC_SECRET_KEY",
        } <= set(environ)
