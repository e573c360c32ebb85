from __future__ import annotations

import asyncio
import base64
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from tests.support.older_document import INFO_BY_STUBS
from tests.support.wire_table import ROOT

from tocsin.protocol import api_pb2, api_pb2_grpc

GUIDE = (ROOT / "docs" / "reference" / "grpc.md").read_text()

Context = grpc.aio.ServicerContext[Any, Any]


def block(language: str, word: str) -> str:
    """The guide's only code block in `language` that holds `word`."""
    blocks = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    (found,) = [each for each in blocks if word in each]
    return str(found)


class Server(api_pb2_grpc.CentrifugoApiServicer):
    """Accepts a push that carries the key, and tells of one node."""

    async def Info(  # noqa: N802 - the published name
        self, request: api_pb2.InfoRequest, context: Context
    ) -> api_pb2.InfoResponse:
        """Answer one node."""
        nodes = [api_pb2.NodeResult(uid="u", name="node-1")]
        return api_pb2.InfoResponse(result=api_pb2.InfoResult(nodes=nodes))

    async def SendPushNotification(  # noqa: N802 - the published name
        self, request: api_pb2.SendPushNotificationRequest, context: Context
    ) -> api_pb2.SendPushNotificationResponse:
        """Answer the topic as the uid, or refuse a call without the key."""
        metadata = dict(context.invocation_metadata() or ())
        if metadata.get("authorization") != "apikey KEY":
            error = api_pb2.Error(code=100, message="no key")
            return api_pb2.SendPushNotificationResponse(error=error)
        uid = request.recipient.topics[0]
        assert b"How are you?" in request.notification.fcm.message
        return api_pb2.SendPushNotificationResponse(
            result=api_pb2.SendPushNotificationResult(uid=uid)
        )


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """A server on loopback made from our own stubs."""
    server = grpc.aio.server()
    api_pb2_grpc.add_CentrifugoApiServicer_to_server(Server(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with api.proto and what the guide's command makes from it."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "proto" / "api.proto", folder)
    install, command = block("bash", "grpc_tools").splitlines()
    assert install == "pip install grpcio-tools"
    program, *arguments = command.split()
    assert program == "python"
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, timeout=60)
    return folder


def run(program: str, folder: Path, address: str) -> str:
    """What the program prints when it calls `address`."""
    assert "localhost:10000" in program
    done = subprocess.run(
        [sys.executable, "-c", program.replace("localhost:10000", address)],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout


async def test_python_example_of_the_guide_sends_a_push(
    project: Path, address: str
) -> None:
    """Command and program of the guide work as they stand there."""
    program = block("python", "CentrifugoApiStub")
    printed = await asyncio.to_thread(run, program, project, address)
    assert printed == "queued as news\n"


async def test_python_example_of_the_older_document_works(
    project: Path, address: str
) -> None:
    """A program written for the older documents runs on stubs made from our file."""
    printed = await asyncio.to_thread(run, INFO_BY_STUBS, project, address)
    assert 'name: "node-1"' in printed


def test_grpcurl_lines_of_the_guide_fit_the_schema() -> None:
    """Each body of a grpcurl line is a valid request of the method it names."""
    service = api_pb2.DESCRIPTOR.services_by_name["CentrifugoApi"]
    message = base64.b64encode(b"{}").decode()
    lines = GUIDE.replace("\\\n", " ").splitlines()
    checked = []
    for line in lines:
        words = shlex.split(line) if line.startswith("grpcurl ") else []
        if "-d" not in words:
            continue
        package, _, method = words[-1].partition("/")
        assert package == service.full_name
        request = getattr(api_pb2, service.methods_by_name[method].input_type.name)()
        body = words[words.index("-d") + 1].replace("$message", message)
        json_format.Parse(body, request)
        assert request.ListFields()
        checked.append(method)
    assert checked == ["DeviceRegister", "DeviceList", "SendPushNotification"]
