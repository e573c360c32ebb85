"""The server API's document: its examples, in each of their forms, on a real server."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from tests.support.go_examples import prepare
from tests.support.older_document import INFO_BY_STUBS
from tests.support.ports import free_port
from tests.support.tocsin_processes import Processes
from tests.support.tokens import SECRET, sign

from tocsin.protocol import api_pb2, api_pb2_grpc

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
KEY = "YOUR_API_KEY"

# The programs of the older document, without what the page lost of them.
PUBLISH_BY_REQUESTS = """
import json
import requests

command = {
    "method": "publish",
    "params": {
        "channel": "docs",
        "data": {
            "content": "1"
        }
    }
}

api_key = "YOUR_API_KEY"
data = json.dumps(command)
headers = {'Content-type': 'application/json', 'Authorization': 'apikey ' + api_key}
resp = requests.post("http://localhost:8000/api", data=data, headers=headers)
print(resp.json())
"""

PUBLISH_BY_GO = """
package main

import (
    "context"
    "log"

    "centrifugo_example/apiproto"

    "google.golang.org/grpc"
)

type keyAuth struct {
    key string
}

func (t keyAuth) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
    return map[string]string{
        "authorization": "apikey " + t.key,
    }, nil
}

func (t keyAuth) RequireTransportSecurity() bool {
    return false
}

func main() {
    conn, err := grpc.Dial("localhost:10000", grpc.WithInsecure(), grpc.WithPerRPCCredentials(keyAuth{"xxx"}))
    if err != nil {
        log.Fatalln(err)
    }
    defer conn.Close()
    client := apiproto.NewCentrifugoApiClient(conn)
    for {
        resp, err := client.Publish(context.Background(), &apiproto.PublishRequest{
            Channel: "chat:index",
            Data:    []byte(`{"input": "hello from GRPC"}`),
        })
        if err != nil {
            log.Printf("Transport level error: %v", err)
        } else {
            if resp.GetError() != nil {
                respError := resp.GetError()
                log.Printf("Error %d (%s)", respError.Code, respError.Message)
            } else {
                log.Println("Successfully published")
            }
        }
        break // the document's goes on for ever
    }
}
"""  # noqa: E501 - as it is printed


class Server:
    """A server whose channels keep history and presence, as the document has them."""

    def __init__(self, processes: Processes, *, insecure: bool = False) -> None:
        self.http_port, self.grpc_port = free_port(), free_port()
        kept: dict[str, Any] = {
            "presence": True,
            "history_size": 10,
            "history_ttl": "300s",
        }
        config = {
            "http_server": {"address": "127.0.0.1", "port": self.http_port},
            "http_api": {"key": KEY},
            "grpc_api": {
                "address": "127.0.0.1",
                "port": self.grpc_port,
                **({"insecure": True} if insecure else {"key": KEY}),
            },
            "client": {"token": {"hmac_secret_key": SECRET}},
            "channel": {
                "without_namespace": kept,
                "namespaces": [{"name": "chat", **kept}],
            },
        }
        path = processes.directory / "c.json"
        path.write_text(json.dumps(config))
        server = processes.start("serve", "--config", str(path))
        server.wait_ready(self.http_port)

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def addressed(self, program: str) -> str:
        """The program of a document, at this server's ports."""
        assert "localhost:8000" in program or "localhost:10000" in program
        program = program.replace("localhost:8000", self.http)
        return program.replace("localhost:10000", self.grpc)


@pytest.fixture
def server(processes: Processes) -> Server:
    return Server(processes)


def run(
    *command: str, cwd: Path | None = None, environ: dict[str, str] | None = None
) -> str:
    """All output of a command that must succeed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# --- the script ---


def missing_tool(door: str) -> str:
    """Why the script cannot go through this door here, or nothing."""
    for tool in ("curl", "grpcurl") if door == "grpc" else ("curl",):
        if not shutil.which(tool):
            return f"{tool} is not on PATH"
    return ""


@pytest.mark.parametrize("door", ["command", "route", "grpc"])
async def test_every_example_of_the_document(server: Server, door: str) -> None:
    """Each is answered as the document says, and the user's client sees it happen."""
    if reason := missing_tool(door):
        pytest.skip(reason)
    token = sign({"sub": "42", "channels": ["chat"]})
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://{server.http}/connection/websocket") as socket,
    ):
        await socket.send_json({"id": 1, "connect": {"token": token}})
        connected = await socket.receive_json()
        client = connected["connect"]["client"]
        seen = asyncio.create_task(_watch(socket))
        environ = {
            "HTTP": f"http://{server.http}",
            "GRPC": server.grpc,
            "KEY": KEY,
        }
        script = str(EXAMPLES / "server-api.sh")
        output = await asyncio.to_thread(run, script, door, environ=environ)
        pushes = await asyncio.wait_for(seen, 60)
        assert socket.close_code == 4321
    assert output.rstrip().endswith("# done")
    _check_answers(_answers(output), client)
    _check_pushes(pushes)


async def _watch(socket: aiohttp.ClientWebSocketResponse) -> list[Any]:
    """All pushes until the connection ends."""
    pushes: list[Any] = []
    async for message in socket:
        for line in message.data.splitlines():
            if line == "{}":
                await socket.send_str("{}")
            else:
                pushes.append(json.loads(line)["push"])
    return pushes


def _answers(output: str) -> dict[str, list[str]]:
    """What each method was answered, in order."""
    answers: dict[str, list[str]] = {}
    asked = ""
    for line in output.splitlines():
        if line.startswith("  {"):
            answers.setdefault(asked, []).append(line.strip())
        elif line and line[0].isalpha():
            asked = line.split()[0]
    return answers


def _check_answers(answers: dict[str, list[str]], client: str) -> None:
    """What depends on somebody being connected."""
    (presence,) = answers["presence"]
    found = json.loads(presence)["result"]["presence"]
    assert found == {client: {"client": client, "user": "42"}}
    (stats,) = answers["presence_stats"]
    assert list(json.loads(stats)["result"].values()) == [1, 1]
    for channels in answers["channels"]:
        (told,) = json.loads(channels)["result"]["channels"].items()
        assert told[0] == "chat"
        assert list(told[1].values()) == [1]
    (info,) = answers["info"]
    (node,) = json.loads(info)["result"]["nodes"]
    assert {1} == {node[key] for key in node if key.lower().startswith("num")}


def _check_pushes(pushes: list[Any]) -> None:
    published = [push["pub"] for push in pushes if push.get("channel") == "chat"]
    assert [each["data"] for each in published] == [{"text": "hello"}] * 3
    assert ["offset" in each for each in published] == [True, False, True]
    assert published[1]["tags"] == {"lang": "en"}
    subscribed = {
        push["channel"]: push["subscribe"] for push in pushes if "subscribe" in push
    }
    assert list(subscribed) == ["docs", "goals"]
    assert subscribed["goals"]["data"] == {"score": [1, 0]}
    assert subscribed["goals"]["recoverable"]
    assert subscribed["goals"]["positioned"]
    (refreshed,) = [push["refresh"] for push in pushes if "refresh" in push]
    assert refreshed["expires"]
    (ended,) = [push for push in pushes if "unsubscribe" in push]
    assert ended["channel"] == "docs"
    assert ended["unsubscribe"]["code"] == 2000


# --- the configuration ---


@pytest.mark.parametrize(
    ("options", "path", "is_open"),
    [
        ({"api_key": KEY}, f"/api?api_key={KEY}", True),
        ({"api_key": KEY}, "/api", False),
        ({"api_insecure": True}, "/api", True),
        ({}, "/api?api_key=", False),
    ],
)
def test_the_options_of_the_document(
    processes: Processes, options: dict[str, Any], path: str, is_open: bool
) -> None:
    """Keys under their flat names, and gRPC switched on by the environment."""
    port, grpc_port = free_port(), free_port()
    flat = {"address": "127.0.0.1", "port": port, "grpc_api_port": grpc_port}
    config = processes.directory / "config.json"
    config.write_text(json.dumps({**flat, "grpc_api_key": "xxx", **options}))
    process = processes.start(
        "serve", "--config", str(config), environ={"CENTRIFUGO_GRPC_API": "1"}
    )
    process.wait_ready(port)
    command = b'{"method": "info", "params": {}}'
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", command)
    if is_open:
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["result"]["nodes"]
    else:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        with refused.value as answer:
            assert (answer.status, answer.read()) == (401, b"")
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        stub: Any = api_pb2_grpc.CentrifugoApiStub(channel)
        metadata = [("authorization", "apikey xxx")]
        response = stub.Info(api_pb2.InfoRequest(), metadata=metadata, timeout=30)
        assert response.result.nodes


# --- the programs ---


def test_the_python_program_over_http(server: Server, tmp_path: Path) -> None:
    """By the requests library, as the document has it."""
    program = server.addressed(PUBLISH_BY_REQUESTS)
    printed = run(sys.executable, "-c", program, cwd=tmp_path)
    assert "'offset': 1" in printed


@pytest.mark.parametrize("insecure", [True, False])
def test_the_python_program_over_grpc(
    processes: Processes, tmp_path: Path, insecure: bool
) -> None:
    """By stubs made with the document's command; where a key is asked, it has none."""
    server = Server(processes, insecure=insecure)
    shutil.copy(ROOT / "proto" / "api.proto", tmp_path)
    command = "grpc_tools.protoc -I ./ --python_out=. --grpc_python_out=. api.proto"
    run(sys.executable, "-m", *command.split(), cwd=tmp_path)
    printed = run(sys.executable, "-c", server.addressed(INFO_BY_STUBS), cwd=tmp_path)
    if insecure:
        assert printed.startswith("nodes {")
        assert 'version: "' in printed
    else:
        assert printed == "StatusCode.UNAUTHENTICATED unauthenticated\n"


def go_tools() -> str:
    """Why the Go programs cannot be built here, or nothing."""
    for tool in ("go", "protoc-gen-go", "protoc-gen-go-grpc"):
        if not shutil.which(tool):
            return f"{tool} is not on PATH"
    return ""


def make_module(folder: Path, module: str) -> None:
    """A Go module of what is in the folder, with stubs as the document makes them."""
    stubs = folder / "apiproto"
    stubs.mkdir()
    shutil.copy(ROOT / "proto" / "api.proto", stubs)
    command = "grpc_tools.protoc -I ./ api.proto --go_out=. --go-grpc_out=."
    run(sys.executable, "-m", *command.split(), cwd=stubs)
    run("go", "mod", "init", module, cwd=folder)
    run("go", "mod", "tidy", cwd=folder)


@pytest.mark.skipif(bool(go_tools()), reason=go_tools())
def test_the_go_programs(server: Server, tmp_path: Path) -> None:
    """The document's own publishes with the key as metadata of each call."""
    document = tmp_path / "centrifugo_grpc_example"
    document.mkdir()
    program = server.addressed(PUBLISH_BY_GO)
    (document / "main.go").write_text(program.replace('"xxx"', f'"{KEY}"'))
    make_module(document, "centrifugo_example")
    assert "Successfully published" in run("go", "run", "main.go", cwd=document)


def test_our_go_program(server: Server, tmp_path: Path) -> None:
    """By the commands at its head; a wrong key is told."""
    ours = prepare("go-publish", tmp_path)
    arguments = ("-address", server.grpc, "-times", "1")
    assert "Successfully published" in ours.run(*arguments, "-key", KEY)
    assert "Unauthenticated" in ours.run(*arguments, "-key", "xxx")
