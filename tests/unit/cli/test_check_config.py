"""`tocsin check-config` tells, whatever it is given, and repeats no credential."""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.support.credential_texts import CREDENTIALS

from tocsin.cli import check_config
from tocsin.cli.main import main
from tocsin.config.root import built

SECRET = "hunter2secretvalue"
APNS = {"bundle_id": "b", "token_key_id": "k", "token_team_id": "t"}
SQLITE = {"sqlite": {"path": "x.db"}}
PATHS = {
    "fcm": {"credentials_file": "PATH"},
    "apns": {**APNS, "token_key_file": "PATH"},
    "apns p12": {"bundle_id": "b", "cert_p12_file": "PATH"},
    "hms": {"app_id": "1", "app_secret": "x", "ca_file": "PATH"},
    "expo": {"ca_file": "PATH"},
    "pushpad": {"auth_token": "x", "project_id": "1", "ca_file": "PATH"},
    "push-webhook": {"url": "https://h", "secret": "x", "ca_file": "PATH"},
}

Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Check]:
    """Exit code and everything that is printed."""
    before = structlog.get_config()
    handlers = logging.getLogger().handlers[:]
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("TOCSIN_", "CENTRIFUGO_")):
            monkeypatch.delenv(name)

    def run(content: object, *arguments: str) -> tuple[int, str]:
        Path("c.json").write_text(json.dumps(content))
        code = main(["check-config", "-c", "c.json", *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    yield run
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers


def content_of(name: str, path: object) -> dict[str, Any]:
    provider = name.partition(" ")[0]
    section = {k: path if v == "PATH" else v for k, v in PATHS[name].items()}
    push = {"enabled_providers": [provider], provider.replace("-", "_"): section}
    return {"database": SQLITE, "push_notifications": push}


@pytest.mark.parametrize("name", PATHS)
def test_whatever_stands_for_a_path_is_told(name: str, check: Check) -> None:
    """Credentials, directories, binary and empty files, files of another kind."""
    Path("folder").mkdir()
    Path("empty.json").touch()
    Path("binary.p8").write_bytes(bytes(range(256)) * 100)
    Path("other.json").write_text(json.dumps({"private_key": SECRET, "token_uri": ""}))
    Path("utf16.json").write_text(SECRET, encoding="utf-16")
    for path in (
        *CREDENTIALS,
        SECRET,
        *("folder", "empty.json", "binary.p8", "other.json", "utf16.json"),
        *("no/such/file.json", "/" + "x" * 300, "a" * 254 + "/" + "b" * 254),
        *("c.json/x", ["folder"], {"a": SECRET}, 7, True, 1.5),
    ):
        code, printed = check(content_of(name, path))
        assert code == 2, path
        assert "Traceback" not in printed
        assert "cannot be checked" not in printed, printed
        assert "hunter2" not in printed
        if isinstance(path, str) and len(path) > 20:
            assert path[4:14] not in printed or path.startswith("no/such")


@pytest.mark.parametrize("text", CREDENTIALS, ids=range(len(CREDENTIALS)))
def test_a_credential_at_any_place_is_not_repeated(text: str, check: Check) -> None:
    """As text, PEM, address, pattern, name or number."""
    tls = {"enabled": True, "cert_pem": text, "key_pem": text, "client_ca_pem": text}
    for content in (
        {"grpc_api": {"tls": tls}},
        {"http_server": {"tls": tls, "address": text}},
        {"client": {"allowed_origins": [text], "token": {"rsa_public_key": text}}},
        {"client": {"token": {"hmac_secret_key": text, "audience_regex": text}}},
        {"channel": {"without_namespace": {"channel_regex": text}}},
        {"channel": {"namespaces": [{"name": "chat", text: 1}]}},
        {"engine": {"type": "redis", "redis": {"address": [text], "prefix": text}}},
        {"engine": {"type": "redis", "redis": {"user": text, "password": text}}},
        {"demo": {"enabled": True, "sdk_file": text}},
        {"push_notifications": {"enabled_providers": [text]}},
        {"node": {"name": text}, "log": {"level": text}},
        {text: {text: text}},
        text,
        [text],
    ):
        code, printed = check(content)
        assert code in (0, 2)
        assert "Traceback" not in printed
        assert "cannot be checked" not in printed, printed
        assert text[4:14] not in printed


def test_every_key_may_hold_nonsense(check: Check) -> None:
    """A kind of value that it does not take, or one that is far too long."""
    wrong = ["\0", "\ud800", "x" * 100_000, 10**30, -1, [[]], {"a": {"b": []}}, True]
    for value in wrong:
        code, printed = check(dict.fromkeys(built(), value))
        assert code == 2
        assert "Traceback" not in printed
        assert "cannot be checked" not in printed, printed
        assert max(map(len, printed.splitlines())) < 600


@pytest.mark.parametrize("sign", "#/?@%: '[&=,")
def test_a_password_with_any_sign_is_masked_or_refused(sign: str, check: Check) -> None:
    """In a dsn, its words, an address of Redis and one of ClickHouse."""
    password = f"hun{sign}ter2"
    push = {"enabled_providers": ["expo"], "expo": {}}
    for content in (
        {"database": {"dsn": f"postgresql://u:{password}@h/x"}},
        {"database": {"dsn": f"host=h password={password}"}},
        {
            "push_notifications": push
            | {"queue": {"postgresql": {"dsn": f"postgresql://u:{password}@h/x"}}}
        },
        {
            "push_notifications": push
            | {"queue": {"redis": {"address": f"redis://u:{password}@h"}}}
        },
        {"engine": {"type": "redis", "redis": {"address": f"redis://:{password}@h:1"}}},
        {"clickhouse_analytics": {"clickhouse_dsn": [f"http://u:{password}@h:1"]}},
        {"client": {"token": {"audience_regex": f"(?P={password}secret)"}}},
    ):
        code, printed = check(content)
        assert code in (0, 2)
        assert "ter2" not in printed
        assert "Traceback" not in printed


def test_a_variable_is_told_as_a_file_is(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its name; the issue of most containers."""
    name = "TOCSIN_PUSH_NOTIFICATIONS_FCM_CREDENTIALS_FILE"
    monkeypatch.setenv(name, CREDENTIALS[0])
    code, printed = check({})
    assert code == 2
    assert "push_notifications.fcm.credentials_file: looks like the credential" in (
        printed
    )
    assert f"[{name}]" in printed
    assert "hunter2" not in printed


def test_a_flag_is_told_as_a_file_is(check: Check) -> None:
    """`--set` and a flag of its own."""
    dsn = "postgresql://u:hunter2@h/x"
    for arguments in (
        ("--database.sqlite.path", dsn),
        ("--set", f"database.sqlite.path={dsn}"),
        ("--set", f"grpc_api.port={dsn}"),
    ):
        code, printed = check({}, *arguments)
        assert code == 2
        assert "hunter2" not in printed


def test_an_unknown_argument_is_named_without_its_value(
    check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    """Secrets have no flag, but are written as one, or stand alone."""
    for line, told in (
        (("--grpc_api.key", SECRET), "--grpc_api.key is no option of it"),
        ((f"--http_api.key={SECRET}",), "--http_api.key is no option of it"),
        ((SECRET,), "it takes no 'hunt…'"),
    ):
        with pytest.raises(SystemExit):
            check({}, *line)
        said = capsys.readouterr().err
        assert told in said
        assert SECRET[:5] not in said


def test_a_fault_of_our_own_is_one_line_without_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words may quote what was configured."""

    def fail(_: argparse.Namespace) -> int:
        raise KeyError(SECRET)

    monkeypatch.setattr(check_config, "_check", fail)
    assert main(["check-config"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("cannot be checked: KeyError at test_check_config.py:")
    assert SECRET not in said
    assert len(said.splitlines()) == 1


def test_a_fault_of_another_verb_hides_what_looks_random(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traceback stays, since somebody has to mend it."""

    def fail(_: argparse.Namespace) -> int:
        raise ValueError(f"{CREDENTIALS[1]} postgresql://u:hun/ter2@h")

    monkeypatch.setattr("tocsin.cli.gen_token.run", fail)
    assert main(["gen-token", "--user", "1"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "MIGT" not in said
    assert "ter2" not in said
