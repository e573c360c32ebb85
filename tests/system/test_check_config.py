import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.verbs import run_verb

pytestmark = pytest.mark.system


def check(
    folder: Path, *arguments: str, **variables: Any
) -> subprocess.CompletedProcess[str]:
    return run_verb(folder, "check-config", *arguments, **variables)


def write(folder: Path, content: object) -> str:
    (folder / "c.json").write_text(json.dumps(content))
    return "c.json"


GOOD = {
    "grpc_api": {"key": "hunter2"},
    "database": {"dsn": "postgresql://u:hunter2@h/x"},
    "push_notifications": {
        "enabled_providers": ["fcm"],
        "queue": {"redis": {"address": "127.0.0.1:6379"}},
        "fcm": {"credentials_file": "sa.json"},
    },
}


def test_a_certificate_in_an_address_is_read(tmp_path: Path) -> None:
    """One that is no use is a fault of its key; no value of the address is shown."""
    (tmp_path / "ca.pem").write_text("nothing")
    address = "rediss://:hunter2@h?tls_server_ca_pem=ca.pem"
    engine = {"type": "redis", "redis": {"address": address}}
    done = check(tmp_path, "--config", write(tmp_path, {**GOOD, "engine": engine}))
    assert done.returncode == 2
    assert done.stderr.startswith("engine.redis.address: tls_server_ca_pem: ")
    assert "hunter2" not in done.stdout + done.stderr


def test_a_good_configuration_is_explained(tmp_path: Path) -> None:
    """What follows from the keys is printed, without a secret, and the code is 0."""
    done = check(tmp_path, "--config", write(tmp_path, GOOD))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok\n")
    assert "PostgreSQL postgresql://u:***@h/x" in done.stdout
    assert "Redis 127.0.0.1:6379" in done.stdout
    assert "run `tocsin worker` beside" in done.stdout
    assert "10000, key set" in done.stdout
    assert "database.dsn is the old name of database.postgresql.dsn" in done.stdout
    assert "sa.json is not there" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_a_bad_configuration_lists_every_fault(tmp_path: Path) -> None:
    """File, variable and flag are named beside their faults, and the code is 2."""
    path = write(tmp_path, {"grpc_api": {"prot": 1}})
    done = check(
        tmp_path, "-c", path, "--log.level", "loud", TOCSIN_HTTP_SERVER_PORT="x"
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "configuration: 3 faults",
        "  grpc_api.prot: is not known; did you mean grpc_api.port? [c.json]",
        '  http_server.port: must be a whole number, not "x" [TOCSIN_HTTP_SERVER_PORT]',
        (
            "  log.level: must be 'debug', 'info', 'warning', 'error' or 'none', "
            'not "loud" [--log.level]'
        ),
    ]


def test_no_configuration_is_fine(tmp_path: Path) -> None:
    """Without anything it says what Tocsin would start on, and creates no file."""
    done = check(tmp_path)
    assert done.returncode == 0
    assert "SQLite tocsin.db" in done.stdout
    assert "no key set: every call is refused" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_wrong_configuration(tmp_path: Path) -> None:
    """A path that leads nowhere is told with its reason."""
    done = check(tmp_path, "--config", "no.json")
    assert done.returncode == 2
    assert "no.json: cannot be read: No such file or directory" in done.stderr


def test_tls_values_are_looked_at(tmp_path: Path) -> None:
    """A certificate that cannot be read is found before the server starts."""
    tls = {"enabled": True, "cert_pem": "no.pem", "key_pem": "no.key"}
    done = check(tmp_path, "-c", write(tmp_path, {"grpc_api": {"tls": tls}}))
    assert done.returncode == 2
    assert "grpc_api.tls.cert_pem: is neither PEM text" in done.stderr
    assert "grpc_api.tls.key_pem: is neither PEM text" in done.stderr


EMBEDDED = {
    "database": {"sqlite": {"path": "x.db"}},
    "push_notifications": {
        "enabled_providers": ["fcm"],
        "fcm": {"credentials_file": "sa.json"},
    },
}
KEY = "push_notifications.fcm.credentials_file"


def test_a_credential_that_serve_would_refuse_is_a_fault(tmp_path: Path) -> None:
    """A worker inside loads it: missing, a directory, no JSON, another JSON."""
    path = write(tmp_path, EMBEDDED)
    file = tmp_path / "sa.json"
    done = check(tmp_path, "--config", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{KEY}: sa.json is not there, seen from {tmp_path}")
    file.mkdir()
    done = check(tmp_path, "--config", path)
    assert (done.returncode, done.stderr) == (
        2,
        f"{KEY}: cannot read sa.json: Is a directory\n",
    )
    file.rmdir()
    for content, words in (
        ("hunter2", "sa.json is not JSON"),
        ("[]", "sa.json is no service account file"),
        ('{"project_id": "hunter2"}', "sa.json lacks client_email"),
    ):
        file.write_text(content)
        done = check(tmp_path, "--config", path)
        assert done.returncode == 2
        assert done.stderr.startswith(f"{KEY}: {words}")
        assert "hunter2" not in done.stderr
    assert not (tmp_path / "x.db").exists()


def test_a_missing_authority_is_a_fault(tmp_path: Path) -> None:
    """Of any provider; one that is no certificate is named too."""
    content = {
        "database": {"sqlite": {"path": "x.db"}},
        "push_notifications": {
            "enabled_providers": ["expo"],
            "expo": {"access_token": "x", "ca_file": "ca.pem"},
        },
    }
    path = write(tmp_path, content)
    done = check(tmp_path, "--config", path)
    assert done.returncode == 2
    assert "push_notifications.expo.ca_file: ca.pem is not there" in done.stderr
    (tmp_path / "ca.pem").write_text("nothing")
    done = check(tmp_path, "--config", path)
    assert done.returncode == 2
    assert "push_notifications.expo.ca_file" in done.stderr


def test_a_worker_elsewhere_makes_it_a_warning(tmp_path: Path) -> None:
    """The file may be for another machine; a dry run needs none."""
    path = write(tmp_path, GOOD)
    done = check(tmp_path, "--config", path)
    assert done.returncode == 0
    assert "sa.json is not there" in done.stdout
    assert "`tocsin worker` will refuse it" in done.stdout
    write(tmp_path, EMBEDDED)
    done = check(tmp_path, "-c", path, "--set", "push_notifications.dry_run=true")
    assert done.returncode == 0, done.stderr
    assert "not needed in a dry run" in done.stdout


def test_the_realtime_half_is_explained(tmp_path: Path) -> None:
    """Engine, namespaces, doors for clients, keys of tokens, origins, doubts."""
    content = {
        "engine": {"type": "redis", "redis": {"address": "redis://:hunter2@h:1"}},
        "channel": {"namespaces": [{"name": "chat"}, {"name": "news"}]},
        "client": {
            "token": {"hmac_secret_key": "hunter2"},
            "allowed_origins": ["https://app.example"],
        },
        "sse": {"enabled": True},
        "uni_grpc": {"enabled": True},
        "http_server": {"internal_port": 9000},
    }
    done = check(tmp_path, "--config", write(tmp_path, content))
    assert done.returncode == 0, done.stderr
    said = [line.split(None, 1) for line in done.stdout.splitlines()[1:]]
    assert ["engine:", "Redis redis://:***@h:1"] in said
    assert ["namespaces:", "chat, news"] in said
    doors = "WebSocket /connection/websocket, SSE /connection/sse"
    assert ["clients:", f"{doors}, one-way gRPC *:11000"] in said
    assert ["tokens:", "verified by HMAC"] in said
    assert ["origins:", "https://app.example"] in said
    assert ["HTTP:", "*:8000, for clients"] in said
    assert "client.token.hmac_secret_key has 7 bytes" in done.stdout
    assert "hunter2" not in done.stdout


def test_what_nobody_configured_is_said(tmp_path: Path) -> None:
    """Without keys and origins nobody gets in, and the lines say so."""
    done = check(tmp_path, "--config", write(tmp_path, {}))
    assert done.returncode == 0
    assert "no key set: every token is refused" in done.stdout
    assert "none: no browser may connect" in done.stdout
    assert "none: only channels without a namespace" in done.stdout


def test_an_apns_credential_is_looked_at(tmp_path: Path) -> None:
    """As FCM's; a key that is none is named without its content."""
    content = json.loads(json.dumps(GOOD))
    apns = {"bundle_id": "b", "token_key_id": "k", "token_team_id": "t"}
    content["push_notifications"] |= {
        "enabled_providers": ["apns"],
        "apns": apns | {"token_key_file": "key.p8"},
    }
    done = check(tmp_path, "--config", write(tmp_path, content))
    assert done.returncode == 0, done.stderr
    assert "push_notifications.apns.token_key_file: key.p8 is not" in done.stdout
    (tmp_path / "key.p8").write_text("hunter2")
    done = check(tmp_path, "--config", "c.json")
    assert done.returncode == 0
    assert "push_notifications.apns.token_key_file: is no .p8" in done.stdout
    content["push_notifications"]["queue"] = {}
    content["database"] = {"sqlite": {"path": "x.db"}}
    done = check(tmp_path, "--config", write(tmp_path, content))
    assert done.returncode == 2
    assert "push_notifications.apns.token_key_file: is no .p8" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_further_integrations_are_told_with_their_provider(tmp_path: Path) -> None:
    """Their files are looked for as those of a section, under their own name."""
    content = json.loads(json.dumps(GOOD))
    content["push_notifications"]["integrations"] = [
        {"identifier": "shop", "provider": "fcm", "credentials_file": "shop.json"},
        {"identifier": "off", "provider": "hms", "active": False},
    ]
    done = check(tmp_path, "--config", write(tmp_path, content))
    assert done.returncode == 0, done.stderr
    assert "providers:  fcm, shop (fcm), off (hms, inactive)" in done.stdout
    key = "push_notifications.integrations[shop].credentials_file"
    assert f"{key}: shop.json is not there" in done.stdout
    assert "not built" not in done.stdout


def test_any_key_can_be_set_by_a_flag(tmp_path: Path) -> None:
    """`--set` goes over the file."""
    done = check(
        tmp_path,
        *("-c", write(tmp_path, {"grpc_api": {"port": 1}})),
        *("--set", "grpc_api.port=12345", "--set", "grpc_api.insecure=true"),
    )
    assert done.returncode == 0
    assert "12345, insecure: no key needed" in done.stdout


def test_a_flag_without_a_value_is_wrong_usage(tmp_path: Path) -> None:
    """`--set` needs a key and a value."""
    done = check(tmp_path, "--set", "grpc_api.port")
    assert done.returncode == 2
    assert "--set takes KEY=VALUE" in done.stderr
