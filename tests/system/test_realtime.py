"""The realtime corridor as processes: tokens, reload, and two nodes on one Redis."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.realtime_processes import KEPT, connected, serve, write
from tests.support.tocsin_processes import Processes, wait_until
from tests.support.tokens import SECRET, sign

from tocsin.cli.gen_token import parse_ttl

pytestmark = pytest.mark.system


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tocsin.cli.main", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_tokens_are_made_and_checked(tmp_path: Path) -> None:
    """Under the configured secret; what is refused says why and ends with 1."""
    client = {
        "token": {"hmac_secret_key": SECRET},
        "subscription_token": {"enabled": True, "hmac_secret_key": "own"},
    }
    config = ("--config", write(tmp_path, {"client": client}))
    token = run(tmp_path, "gen-token", *config, "--user", "42").stdout.strip()
    checked = run(tmp_path, "check-token", *config, token)
    assert checked.returncode == 0, checked.stderr
    claims = json.loads(checked.stdout)
    assert claims["user"] == "42"
    assert abs(claims["expire_at"] - time.time() - 7 * 24 * 3600) < 300
    made = run(
        tmp_path, "gen-sub-token", *config, "-u", "42", "-s", "chat", "--ttl", "-1"
    )
    of_channel = made.stdout.strip()
    checked = run(tmp_path, "check-token", *config, "--subscription", of_channel)
    assert json.loads(checked.stdout)["channel"] == "chat"
    assert json.loads(checked.stdout)["expire_at"] == 0
    for arguments, words in (
        ((of_channel,), "invalid: signature does not fit"),
        (("--subscription", token), "invalid: signature does not fit"),
        ((sign({"exp": 1}),), "expired"),
    ):
        refused = run(tmp_path, "check-token", *config, *arguments)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert SECRET not in refused.stderr
    empty = ("--config", write(tmp_path, {}, "empty.json"))
    without = run(tmp_path, "gen-token", *empty)
    assert without.returncode == 2
    assert "client.token.hmac_secret_key is not set" in without.stderr
    without = run(tmp_path, "check-token", *empty, token)
    assert without.returncode == 2
    assert without.stderr.startswith("no key is configured: every token is refused")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90", 90), ("90s", 90), ("1h30m", 5400), ("1d", 86_400)),
        *(("2d12h", 216_000), ("-1", -1), ("1.5h", 5400)),
    ],
)
def test_the_life_of_a_token_is_a_duration(text: str, seconds: int) -> None:
    """As the configuration writes it, with days, or a number of seconds."""
    assert parse_ttl(text) == seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *(("0", "over at once"), ("0s", "over at once"), ("500ms", "over at once")),
        *(("d", "duration"), ("xd", "duration"), ("1y", "duration")),
        *(("", "duration"), ("1d-1h", "duration"), ("1.5d", "duration")),
    ],
)
def test_a_life_that_is_none_is_refused(text: str, words: str) -> None:
    """With the reason."""
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        parse_ttl(text)


def test_a_channel_that_the_server_refuses_is_told(tmp_path: Path) -> None:
    """The token is made nevertheless: the namespace may come later."""
    config = {
        "client": {"token": {"hmac_secret_key": SECRET}},
        "channel": {"namespaces": [{"name": "chat"}]},
    }
    made = ("gen-sub-token", "--config", write(tmp_path, config), "-u", "42")
    done = run(tmp_path, *made, "-s", "news:1", "--ttl", "1h")
    assert done.returncode == 0
    assert done.stdout.count(".") == 2
    assert done.stderr.startswith("warning: no namespace 'news' is configured")
    assert run(tmp_path, *made, "-s", "chat:1").stderr == ""
    assert run(tmp_path, *made, "-s", "alone").stderr == ""
    done = run(tmp_path, *made, "-s", "chat:1", "--ttl", "0")
    assert done.returncode == 2
    assert "over at once" in done.stderr


def test_sighup_reads_channels_and_keys_anew(
    processes: Processes, tmp_path: Path
) -> None:
    """A wrong configuration changes nothing, and the process goes on."""
    node = serve(processes, tmp_path, "one")
    epoch = node.call("publish", channel="kept:1", data=1)["result"]["epoch"]
    assert node.call("publish", channel="new:1", data=1)["error"]["code"] == 102
    node.reload(channel={"namespaces": [KEPT, {"name": "new"}]})
    wait_until(lambda: "result" in node.call("publish", channel="new:1", data=1))
    again = node.call("publish", channel="kept:1", data=1)["result"]
    assert again == {"offset": 2, "epoch": epoch}
    node.reload(channel={"namespaces": [{"name": "new", "history_size": 1}]})
    node.process.wait_event("the configuration is wrong; everything stays as it was")
    assert "result" in node.call("publish", channel="kept:1", data=1)
    node.reload(channel={"without_namespace": {"channel_regex": "("}})
    node.process.wait_event("nothing was reloaded")
    assert "result" in node.call("publish", channel="kept:1", data=1)
    assert node.process.terminate() == 0


def test_sighup_says_what_needs_a_restart(processes: Processes, tmp_path: Path) -> None:
    """Keys that differ and are not read anew; faults are lines of the log."""
    node = serve(processes, tmp_path, "one")
    node.reload(
        channel={"namespaces": [KEPT, {"name": "new"}]},
        shutdown={"timeout": "7s"},
        push_notifications={"uid_ttl": "7h"},
    )
    node.process.wait_event(
        "need a restart to take effect: shutdown.timeout, push_notifications.uid_ttl"
    )
    node.reload(shutdown={"timeuot": "7s"})
    node.process.wait_event("the configuration is wrong; everything stays as it was")
    told = [line for line in node.process.text().splitlines() if "timeuot" in line]
    (fault,) = map(json.loads, told)
    assert fault["level"] == "error"
    assert fault["event"].startswith("configuration: shutdown.timeuot: is not known")
    assert node.process.terminate() == 0


@pytest.mark.parametrize("place", ["redis_address", "redis_cluster_address"])
async def test_two_nodes_on_one_redis_are_one(
    processes: Processes, tmp_path: Path, request: pytest.FixtureRequest, place: str
) -> None:
    """Publications, commands, surveys, statuses and denials reach both."""
    address = request.getfixturevalue(place)
    engine = {"type": "redis", "redis": {"address": address}}
    one = serve(processes, tmp_path, "one", engine=engine)
    two = serve(processes, tmp_path, "two", engine=engine)
    call = asyncio.to_thread

    async def both_known() -> bool:
        return len((await call(one.call, "info"))["result"]["nodes"]) == 2

    async with asyncio.timeout(10):
        while not await both_known():  # noqa: ASYNC110 - another process knows
            await asyncio.sleep(0.05)
    published = await call(lambda: one.call("publish", channel="kept:1", data={"n": 1}))
    found = await call(lambda: two.call("history", channel="kept:1", limit=5))
    assert found["result"]["epoch"] == published["result"]["epoch"]
    assert [each["data"] for each in found["result"]["publications"]] == [{"n": 1}]
    token = sign({"sub": "u", "jti": "t-1", "channels": ["kept:1"]})
    async with connected(two, token) as client:
        reply = await client.next()
        assert list(reply["connect"]["subs"]) == ["kept:1"]
        await call(lambda: one.call("publish", channel="kept:1", data={"n": 2}))
        assert (await client.next())["push"]["pub"]["data"] == {"n": 2}
        channels = await call(lambda: one.call("channels", pattern="kept:*"))
        assert channels["result"]["channels"] == {"kept:1": {"num_clients": 1}}
        listed = await call(lambda: one.call("connections", user="u"))
        (told,) = listed["result"]["connections"].values()
        assert told["state"]["connection_token"] == {"uid": "t-1"}
        status = await call(lambda: two.call("get_user_status", users=["u"]))
        (first,) = status["result"]["statuses"]
        seen = await call(lambda: one.call("get_user_status", users=["u"]))
        assert seen["result"]["statuses"] == [first]
        assert first["online"] > time.time() - 60
        revoked = await call(lambda: one.call("revoke_token", uid="t-1"))
        assert revoked == {"result": {}}
        assert await client.next() == 3500
    async with connected(one, token) as client:
        assert await client.next() == 3500
    fresh = sign({"sub": "u", "jti": "t-2"})
    async with connected(one, fresh) as client:
        assert "connect" in await client.next()
        await call(lambda: two.call("block_user", user="u"))
        assert await client.next() == 3507
    async with connected(two, fresh) as client:
        assert await client.next() == 3507
    await call(lambda: one.call("unblock_user", user="u"))
    async with connected(two, fresh) as client:
        assert "connect" in await client.next()
