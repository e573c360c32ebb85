"""Keys that expect a path, with credentials, secrets and nonsense in their place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic.fields import FieldInfo
from tests.support.credential_texts import CREDENTIALS

from tocsin.config import ConfigError, load_config
from tocsin.config.fields import NamesFile, Section
from tocsin.config.root import built

PATH_KEYS = [path for path, leaf in built().items() if leaf.names_file]


def items() -> Iterator[type[Section]]:
    listed = built()["push_notifications.integrations"].field
    annotated, _ = get_args(listed.annotation)
    union, *_ = get_args(annotated)
    yield from get_args(union)


def provider_of(item: type[Section]) -> str:
    return str(get_args(item.model_fields["provider"].annotation)[0])


def names_file(field: FieldInfo) -> bool:
    return any(isinstance(mark, NamesFile) for mark in field.metadata)


ITEM_KEYS = [
    (provider_of(item), name)
    for item in items()
    for name, field in item.model_fields.items()
    if names_file(field)
]


def test_every_key_that_is_called_a_file_is_marked_as_one() -> None:
    """A new key is covered by the tests here as soon as it is written."""
    fields = {path: leaf.names_file for path, leaf in built().items()}
    for item in items():
        fields |= {name: names_file(f) for name, f in item.model_fields.items()}
    for path, is_marked in fields.items():
        name = path.rpartition(".")[2]
        assert is_marked == (name == "path" or name.endswith(("_file", "_path"))), path
    assert "push_notifications.fcm.credentials_file" in PATH_KEYS
    assert "database.sqlite.path" in PATH_KEYS
    assert ("apns", "token_key_file") in ITEM_KEYS


def told(content: Any, folder: Path, **environ: str) -> str:
    """Every fault of a file and an environment, or nothing."""
    path = folder / "c.json"
    path.write_text(json.dumps(content))
    try:
        load_config(str(path), environ=environ)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("text", CREDENTIALS, ids=range(len(CREDENTIALS)))
@pytest.mark.parametrize("key", PATH_KEYS)
def test_credential_text_for_a_path_is_refused_unshown(
    key: str, text: str, tmp_path: Path
) -> None:
    """By file, by variable; more than four characters of it are nowhere."""
    variable = "TOCSIN_" + key.upper().replace(".", "_")
    for words in (told({key: text}, tmp_path), told({}, tmp_path, **{variable: text})):
        assert key in words
        assert "looks like the credential itself" in words or "surrogate" in words
        assert text[4:14] not in words
        assert "hunter2" not in words


@pytest.mark.parametrize(("provider", "key"), ITEM_KEYS)
def test_an_item_of_the_list_refuses_it_too(
    provider: str, key: str, tmp_path: Path
) -> None:
    """With the item's name and the key's."""
    for text in CREDENTIALS:
        item = {"identifier": "a", "provider": provider, key: text}
        words = told({"push_notifications": {"integrations": [item]}}, tmp_path)
        assert f"integrations[a].{key}: " in words
        assert text[4:14] not in words
        assert "hunter2" not in words


def test_a_line_end_behind_a_path_is_no_part_of_it() -> None:
    """A variable that was filled from a file has one."""
    environ = {"TOCSIN_PUSH_NOTIFICATIONS_FCM_CREDENTIALS_FILE": "/etc/sa.json\n"}
    push = load_config(None, environ=environ).config.push_notifications
    fcm: Any = push.sections["fcm"]
    assert fcm.credentials_file == "/etc/sa.json"


def test_the_key_that_takes_the_text_is_named(tmp_path: Path) -> None:
    """Where there is one."""
    for key, other in (
        ("push_notifications.apns.token_key_file", "token_key_pem"),
        ("push_notifications.apns.cert_p12_file", "cert_p12_b64"),
        ("database.sqlite.path", "database.postgresql.dsn"),
    ):
        assert other in told({key: "postgresql://u:hunter2@h/x"}, tmp_path)


@pytest.mark.parametrize("key", PATH_KEYS)
def test_an_object_for_a_path_is_told_as_such(key: str, tmp_path: Path) -> None:
    """A service account pasted into the file as it is."""
    account = {"type": "service_account", "private_key": CREDENTIALS[1]}
    words = told({key: account}, tmp_path)
    assert f"{key}: must be text, the path of a file" in words
    assert "PRIVATE" not in words


EVERY_KEY = sorted(built())
SECRET = "sk_live_4eC39HqLyjWDarjtT1zdp7dc/hunter2"


@pytest.mark.parametrize("key", EVERY_KEY)
def test_no_key_repeats_a_secret_that_was_put_there(key: str, tmp_path: Path) -> None:
    """Whatever kind of value it expects; numbers, switches and lists too."""
    variable = "TOCSIN_" + key.upper().replace(".", "_")
    for text in (SECRET, json.dumps([SECRET])):
        for words in (
            told({key: text}, tmp_path),
            told({}, tmp_path, **{variable: text}),
            told({key: [text]}, tmp_path),
            told({key: {text: text}}, tmp_path),
        ):
            assert SECRET[:8] not in words
            assert "hunter2" not in words


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", '{"grpc_api": {"key": hunter2secret}}'),
        (
            "c.json",
            '{"hunter2secret+/4eC39HqLyjWD": 1, "hunter2secret+/4eC39HqLyjWD": 2}',
        ),
        ("c.yaml", "key: *hunter2secret"),
        ("c.yaml", "key: !hunter2secret x"),
        ("c.yaml", "key: 'hunter2secret"),
        ("c.yaml", "a: &hunter2secret b\nhunter2secret: - x"),
        ("c.toml", "key = hunter2secret"),
        ("c.toml", 'key = {"hunter2secret x" = 1, "hunter2secret x" = 2}'),
        ("c.toml", '["hunter2secret x"]\n["hunter2secret x"]'),
        ("c.toml", 'key = "\\hunter2secret"'),
        ("c.conf", "hunter2secret: [\n"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_not_repeated(
    name: str, content: str, tmp_path: Path
) -> None:
    """Position and kind of the fault are enough to find it."""
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as raised:
        load_config(str(tmp_path / name), environ={})
    words = str(raised.value).replace(str(tmp_path), "")
    assert "ter2secret" not in words
    assert "cannot be parsed" in words


@pytest.mark.parametrize("text", CREDENTIALS, ids=range(len(CREDENTIALS)))
def test_a_configuration_in_place_of_its_path(text: str) -> None:
    """`--config` with the content itself; a variable may hold it."""
    with pytest.raises(ConfigError) as raised:
        load_config(text, environ={})
    assert text[4:14] not in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("depth", [200, 900, 3000])
def test_deep_nesting_is_a_fault(depth: int, tmp_path: Path) -> None:
    """In a file and in a variable, wherever the recursion ends."""
    for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
        (tmp_path / "c.json").write_text('{"client": ' + text + "}")
        environ = {
            "TOCSIN_CLIENT": text,
            "TOCSIN_CHANNEL_NAMESPACES": text,
            "TOCSIN_PUSH_NOTIFICATIONS_INTEGRATIONS": text,
        }
        for path, variables in ((str(tmp_path / "c.json"), {}), (None, environ)):
            with pytest.raises(ConfigError):
                load_config(path, environ=variables)


def test_the_mark_is_one_object_a_key() -> None:
    """`NamesFile` carries the advice for its key."""
    assert "name that file here" in NamesFile().advice
