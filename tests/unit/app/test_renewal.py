"""Credentials that are replaced while their adapter is at work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from tocsin.app.reloading import Reloader, find_restart_keys
from tocsin.app.renewal import ProviderSet, RenewableProvider, digest_of
from tocsin.config import Config, load_config
from tocsin.config.integrations import Credential
from tocsin.core.ports.providers import Batch, Pace
from tocsin.core.ports.receipts import ReceiptSource
from tocsin.providers.errors import ProviderSetupError

NOTHING = cast("Any", None)


class Adapter:
    """Sends until it is let go, and knows whether it is closed."""

    def __init__(self, credential: Credential) -> None:
        self.name = credential.provider
        self.integration = credential.identifier
        self.batch_size = credential.batch_size
        self.settings: Any = credential.settings
        self.sends = 0
        self.closed = False
        self.go = asyncio.Event()

    async def send(self, batch: Batch, report: object, pace: Pace) -> None:
        assert not self.closed
        self.sends += 1
        await self.go.wait()
        assert not self.closed

    async def close(self) -> None:
        assert not self.closed
        self.closed = True


class WithReceipts(Adapter):
    receipt_delay_s = 900.0
    receipt_batch_size = 300

    async def fetch_receipts(self, ids: object) -> dict[str, Any]:
        return {"by": self}


class Builder:
    """Adapters as they are built; a token of `wrong` cannot be used."""

    def __init__(self) -> None:
        self.built: list[Adapter] = []

    def __call__(self, credential: Credential) -> Any:
        kind = WithReceipts if credential.provider == "expo" else Adapter
        settings: Any = credential.settings
        for key in ("access_token", "auth_token"):
            secret = getattr(settings, key, None)
            if secret is not None and secret.get_secret_value() == "wrong":
                raise ProviderSetupError(f"{credential.path}.{key}", "is wrong")
        adapter = kind(credential)
        self.built.append(adapter)
        return adapter


def configured(**more: Any) -> Config:
    push = {
        "push_notifications": {
            "enabled_providers": ["expo", "pushpad"],
            "expo": {"access_token": "a", **more.pop("expo", {})},
            "pushpad": {
                "auth_token": "a",
                "project_id": "1",
                **more.pop("pushpad", {}),
            },
            "queue": {"type": "redis", "redis": {"address": "127.0.0.1:1"}},
            **more,
        }
    }
    return load_config(None, environ={}, overrides=flat(push)).config


def flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            out |= flat(value, f"{path}{name}.")
        else:
            out[path + name] = value
    return out


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_was_begun_ends_with_the_old_one() -> None:
    """The next send takes the new one; the old one is closed when it is done."""
    build = Builder()
    (credential, _) = configured().push_notifications.active_credentials
    old, new = build(credential), build(credential)
    provider = RenewableProvider(old)
    first = asyncio.create_task(provider.send(NOTHING, NOTHING, NOTHING))
    await settle()
    provider.renew(new)
    second = asyncio.create_task(provider.send(NOTHING, NOTHING, NOTHING))
    await settle()
    assert (old.sends, new.sends, old.closed) == (1, 1, False)
    old.go.set()
    await first
    await settle()
    assert (old.closed, new.closed) == (True, False)
    new.go.set()
    await second
    await provider.close()
    assert new.closed


async def test_only_what_changed_is_built_anew() -> None:
    """Connections of the others stay as they are."""
    build = Builder()
    running = configured()
    credentials = ProviderSet(running.push_notifications.active_credentials, build)
    heard: list[str] = []
    credentials.listen(lambda each: heard.append(each.integration))
    assert credentials.prepare(running).apply() == []
    fresh = configured(expo={"access_token": "b"})
    assert credentials.prepare(fresh).apply() == heard == ["expo"]
    assert build.built[-1].settings.access_token.get_secret_value() == "b"
    assert credentials.prepare(fresh).apply() == []
    source = credentials.providers["expo"]
    assert isinstance(source, ReceiptSource)
    answer: Any = await source.fetch_receipts([])
    assert answer == {"by": build.built[-1]}
    await credentials.close()
    assert [each.closed for each in build.built] == [True] * 3


async def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    """Its path is the same in both configurations."""
    build, trust = Builder(), tmp_path / "ca.pem"
    trust.write_text("one")
    running = configured(pushpad={"ca_file": str(trust)})
    credentials = ProviderSet(running.push_notifications.active_credentials, build)
    assert credentials.prepare(running).apply() == []
    trust.write_text("two")
    assert credentials.prepare(running).apply() == ["pushpad"]
    await credentials.close()


async def test_a_wrong_one_among_several_changes_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was built beside it is closed again, and the log names the key."""
    build = Builder()
    running = configured()
    credentials = ProviderSet(running.push_notifications.active_credentials, build)
    fresh = configured(expo={"access_token": "b"}, pushpad={"auth_token": "wrong"})
    Reloader(running, lambda: fresh, providers=credentials).reload()
    await settle()
    assert [each.closed for each in build.built] == [False, False, True]
    said = capsys.readouterr().out
    assert "nothing was reloaded" in said
    assert "push_notifications.pushpad.auth_token: is wrong" in said
    await credentials.close()


async def test_keys_that_others_hold_wait_for_a_restart() -> None:
    """They are named, and the new adapter keeps the old value."""
    build = Builder()
    running = configured()
    credentials = ProviderSet(running.push_notifications.active_credentials, build)
    fresh = configured(expo={"access_token": "b", "tokens_batch_size": 7})
    assert credentials.prepare(fresh).apply() == ["expo"]
    assert build.built[-1].settings.tokens_batch_size != 7
    assert find_restart_keys(running, fresh) == [
        "push_notifications.expo.tokens_batch_size"
    ]
    await credentials.close()


def test_an_integration_that_comes_or_goes_waits_for_a_restart() -> None:
    """Its lanes, and the checks of sends, were made at the start."""
    one = configured()
    more = configured(
        integrations=[
            {"identifier": "b", "provider": "expo", "access_token": "x"},
        ]
    )
    name = "push_notifications.integrations[b]"
    assert find_restart_keys(one, more) == [name]
    assert find_restart_keys(more, one) == [name]
    assert find_restart_keys(more, more) == []


async def test_a_digest_tells_a_changed_credential(tmp_path: Path) -> None:
    """By content: the same key under another path is the same on every machine."""
    files = [tmp_path / name for name in ("a.pem", "b.pem")]
    for file in files:
        file.write_text("one")

    def digest(**keys: str) -> str:
        config = configured(pushpad=keys)
        (found,) = (
            digest_of(each)
            for each in config.push_notifications.active_credentials
            if each.provider == "pushpad"
        )
        return found

    first, second = (digest(ca_file=str(file)) for file in files)
    assert first == second
    assert len(first) == 16
    files[1].write_text("two")
    assert digest(ca_file=str(files[1])) != first
    assert digest(ca_file=str(files[0]), auth_token="b") != first
    build = Builder()
    running = configured()
    credentials = ProviderSet(running.push_notifications.active_credentials, build)
    before = credentials.digest("expo")
    assert before == credentials.digest("expo")
    assert credentials.digest("no-integration") == ""
    fresh = configured(expo={"access_token": "b"})
    credentials.prepare(fresh).apply()
    assert credentials.digest("expo") not in ("", before)
    await credentials.close()
