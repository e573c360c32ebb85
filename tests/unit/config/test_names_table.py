"""The table of keys that outside checks use, against the sections."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tocsin.config import names
from tocsin.config.fields import Leaf
from tocsin.config.root import built
from tocsin.core.push_services import SERVICES

TABLE = Path(__file__).parents[2] / "data" / "config_table.csv"

# Where the table refers to the contract or counts by words, the words of the page.
IN_WORDS = {
    "database.enabled": "true when a dsn or a sqlite path is given, or with no config",
    "worker.embedded": "true when the queue lives in SQLite, else false",
    "push_notifications.enabled": "true when enabled_providers is not empty",
    "push_notifications.queue.type": "redis when a Redis address is set, postgresql "
    "when queue.postgresql names one, else database",
}


def rows(step: str) -> Iterator[dict[str, str]]:
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["step"] == "house") != (step == "house"):
                continue
            first, *others = row["key"].split(" / ")
            parent = first.rpartition(".")[0]
            for key in (first, *(f"{parent}.{other}" for other in others)):
                if "<provider>" not in key:
                    yield {**row, "key": key}
                else:
                    for name in providers_of(key):
                        section = name.replace("-", "_")
                        yield {**row, "key": key.replace("<provider>", section)}


def providers_of(key: str) -> list[str]:
    """Only two providers have a library beside the own engine."""
    return ["fcm", "apns"] if key.endswith(".transport") else list(SERVICES)


def leaf_of(key: str) -> Leaf:
    # An object is told by its switch.
    return built().get(key) or built()[f"{key}.enabled"]


@pytest.mark.parametrize("row", list(rows("house")), ids=lambda row: row["key"])
def test_a_row_of_the_table_is_a_key(row: dict[str, str]) -> None:
    """Every row of this step exists, with its type and its default."""
    key, leaf = row["key"], leaf_of(row["key"])
    if row["type"] == "object":
        assert (leaf.path, leaf.kind, leaf.default) == (
            f"{key}.enabled",
            "bool",
            "false",
        )
        return
    assert leaf.kind == row["type"]
    assert leaf.default == IN_WORDS.get(key, row["default"])


@pytest.mark.parametrize("row", list(rows("later")), ids=lambda row: row["key"])
def test_a_row_of_a_later_step_is_known(row: dict[str, str]) -> None:
    """A key of a release to come is no unknown name."""
    key = row["key"]
    assert key in built() or key in names.known() or key in names.known_sections()


OLD_NAMES = {
    "http_server.port": "port",
    "http_api.key": "api_key",
    "grpc_api.enabled": "grpc_api",
    "grpc_api.key": "grpc_api_key",
    "grpc_api.tls.cert_pem": "grpc_api_tls_cert",
    "database.postgresql.dsn": "database.dsn",
    "worker.concurrency": "push_notifications.queue.redis.consumer_concurrency",
    "log.level": "log_level",
    "push_notifications.queue.type": "push_notifications.queue_engine",
    "push_notifications.queue.redis.address": "push_notifications.redis_address",
    "push_notifications.queue.postgresql.prefix": (
        "push_notifications.database_queue_prefix"
    ),
    "push_notifications.fcm.credentials_file": (
        "push_notifications.fcm_credentials_file_path"
    ),
    "push_notifications.fcm.tokens_batch_size": (
        "push_notifications.fcm_tokens_batch_size"
    ),
    "push_notifications.apns.auth_type": "push_notifications.apns_auth",
    "push_notifications.max_inactive_device_interval": (
        "push_notifications.max_inactive_device_days"
    ),
}


@pytest.mark.parametrize(("new", "old"), list(OLD_NAMES.items()))
def test_an_old_name_leads_to_the_new_one(new: str, old: str) -> None:
    """The table's column of old names is understood."""
    assert names.renamed()[old] == new


def test_every_old_name_leads_to_a_name_that_exists() -> None:
    """No row of the renaming table points into the void or at another old name."""
    for old, new in names.renamed().items():
        assert new in built() or new in names.known(), (old, new)
        assert new not in names.renamed(), (old, new)
        assert old not in built(), old


def test_guarded_names_are_known_and_not_built() -> None:
    """A name that gets built must leave the list of refusals."""
    for key in names.GUARDED:
        assert key in names.known(), key
        assert key not in built(), key


def test_variables_of_built_keys_are_unambiguous() -> None:
    """No two keys share the name of an environment variable."""
    variables = [names.env_name(key) for key in built()]
    assert len(set(variables)) == len(variables)
