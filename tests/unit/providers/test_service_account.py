from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.pastings import JSON_WAYS, PEM_WAYS

from tocsin.providers.errors import ProviderSetupError
from tocsin.providers.google_token import load_service_account
from tocsin.providers.service_account import NoAccount, read_account
from tocsin.simulator.service_account import prepare_service_account

KEY = "push_notifications.fcm.credentials_file"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("account") / "sa.json"
    prepare_service_account(file, "https://127.0.0.1:1/token")
    return file.read_bytes()


@pytest.mark.parametrize("way", JSON_WAYS)
def test_an_account_is_read_however_it_was_pasted(
    account: bytes, tmp_path: Path, way: str
) -> None:
    """The provider signs with the key that was meant."""
    file = tmp_path / "sa.json"
    file.write_bytes(JSON_WAYS[way](account))
    found = load_service_account(str(file), KEY)
    fields = json.loads(account)
    assert (found.email, found.project_id) == (
        fields["client_email"],
        fields["project_id"],
    )
    assert read_account(file.read_bytes())["private_key"] == fields["private_key"]


@pytest.mark.parametrize("way", [way for way in PEM_WAYS if way != "UTF-16"])
def test_the_key_inside_is_read_however_it_was_pasted(account: bytes, way: str) -> None:
    """Deployment tools rewrite its line ends most of all."""
    fields = json.loads(account)
    key = fields["private_key"]
    pasted = PEM_WAYS[way](key.encode()).decode()
    text = json.dumps({**fields, "private_key": pasted})
    assert read_account(text.encode())["private_key"] == key


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"{", "is not JSON"),
        (b"AAAAabc:APA91b-legacy-server-key", "is not JSON"),
        (b"<?xml version='1.0'?><plist></plist>", "GoogleService-Info.plist"),
        (b"<html>", "is a page"),
        (b"-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----", "in PEM"),
        (b"[]", "no service account file"),
        (b"7", "no service account file"),
        ({"type": "authorized_user"}, "a person's own login"),
        ({"type": "external_account"}, "workload identity"),
        ({"type": "impersonated_service_account"}, "impersonates"),
        ({"project_info": {}, "client": []}, "google-services.json"),
        ({"apiKey": "x", "authDomain": "y"}, "configuration of the web app"),
        ({"web": {"client_id": "x"}}, "client of an OAuth login"),
        ({"installed": {}}, "client of an OAuth login"),
        ({"private_key": "k", "project_id": "p"}, "lacks client_email, token_uri"),
        ({"private_key": "", "project_id": "p"}, "lacks client_email"),
    ],
)
def test_another_file_is_named_with_what_to_download(
    content: bytes | dict[str, Any], said: str
) -> None:
    """Google gives out a dozen kinds of JSON; only one can send."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(NoAccount) as caught:
        read_account(raw)
    assert said in str(caught.value)
    assert "Generate new private key" in str(caught.value) or not raw
    assert "legacy-server-key" not in str(caught.value)


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        (lambda key: key[:200], "is cut"),
        (lambda key: "", "lacks private_key"),
        (lambda key: key[:40] + "..." + key[-40:][:10], "was cut out"),
        (lambda key: key.replace("PRIVATE", "PUBLIC"), "holds no private key"),
        (lambda key: key[28:-30], "is no PEM"),
        (lambda key: key.replace(key[40:90], "!" * 50), "no key that Google gives out"),
    ],
)
def test_a_broken_key_is_said_to_be_one(
    account: bytes, tmp_path: Path, cut: Any, said: str
) -> None:
    """What is wrong with it, and not a character of it."""
    fields = json.loads(account)
    file = tmp_path / "sa.json"
    broken = cut(fields["private_key"])
    file.write_text(json.dumps({**fields, "private_key": broken}))
    with pytest.raises(ProviderSetupError) as caught:
        load_service_account(str(file), KEY)
    assert str(caught.value).startswith(f"{KEY}: {file}")
    assert said in str(caught.value)
    assert fields["private_key"][100:110] not in str(caught.value)
