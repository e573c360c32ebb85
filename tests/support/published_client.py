"""A client generated from the published table alone, in a process of its own.

Its messages have the names of ours, so both cannot live in one descriptor pool.
Run as a script it is that process: one JSON object per line in, one per line out.

    with PublishedClient.start(tmp_path) as client:
        answer = client.call("127.0.0.1:10000", "DeviceList", {"limit": 5}, key="k")
        assert answer["response"]["result"]["items"] == []

In requests and responses `bytes` fields stand as in the HTTP API: JSON values
inline. Text that is to be sent as it is, valid JSON or not, is written as
`{"$raw": "text"}`, and comes back so where a response holds no JSON.
"""

from __future__ import annotations

import importlib
import itertools
import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WINDOW = 64  # calls of one batch that are under way at once


def generate(directory: Path) -> Path:
    """Write api.proto from the table into `directory` and compile it there.

    Uses the command that the documents give for Python. Returns `directory`,
    which then holds api.proto, api_pb2.py and api_pb2_grpc.py.
    """
    from tests.support.wire_table import render

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "api.proto").write_text(render("api"))
    command = "grpc_tools.protoc -I ./ --python_out=. --grpc_python_out=. api.proto"
    subprocess.run(
        [sys.executable, "-m", *command.split()], cwd=directory, check=True, timeout=60
    )
    return directory


class PublishedClient:
    """Drives a server through a generated client. Safe to use from threads.

    Calls block: from a coroutine that shares its loop with the server, use
    `asyncio.to_thread(client.call, ...)`.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Take over a running process; `start` makes one."""
        self._process = process
        self._lock = threading.Lock()

    @classmethod
    def start(cls, directory: Path) -> Self:
        """Generate the client into `directory` and start its process."""
        generate(directory)
        return cls(
            subprocess.Popen(
                [sys.executable, __file__, str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def call(
        self,
        address: str,
        method: str,
        request: Mapping[str, Any],
        *,
        key: str | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        timeout_s: float = 10,
    ) -> dict[str, Any]:
        """Call `method` and return `{"ok", "code", "details", "response"}`.

        `code` is the gRPC status by name; `ok` tells that it is OK (an in-band
        error is in `response["error"]`). `response` is `None` unless it is.
        """
        (answer,) = self.call_many(
            address, method, [request], key=key, metadata=metadata, timeout_s=timeout_s
        )
        return answer

    def call_many(
        self,
        address: str,
        method: str,
        requests: Iterable[Mapping[str, Any]],
        *,
        key: str | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        timeout_s: float = 10,
    ) -> list[dict[str, Any]]:
        """As `call` for each of `requests`, many at once; answers keep the order."""
        pairs = [("authorization", f"apikey {key}")] if key is not None else []
        spec = {
            "address": address,
            "method": method,
            "requests": list(requests),
            "metadata": [*pairs, *metadata],
            "timeout_s": timeout_s,
        }
        answer = self._exchange(json.dumps(spec))
        if "fault" in answer:
            raise ValueError(f"{method}: {answer['fault']}")
        answers = answer["answers"]
        assert isinstance(answers, list)
        return answers

    def _exchange(self, line: str) -> dict[str, Any]:
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        with self._lock:
            to.write(line + "\n")
            to.flush()
            answer = back.readline()
        if not answer:
            raise RuntimeError(f"the client ended: exit code {self._process.wait(5)}")
        parsed = json.loads(answer)
        assert isinstance(parsed, dict)
        return parsed

    def close(self) -> None:
        """End the process."""
        with self._process:  # closes its pipes: end of input ends it
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# What follows runs in the client's own process.


def fill(message: Any, values: Mapping[str, Any]) -> Any:
    """Set the fields of `message` by name; an unknown name is a ValueError."""
    fields = message.DESCRIPTOR.fields_by_name
    for name, value in values.items():
        if name not in fields:
            raise ValueError(f"{message.DESCRIPTOR.name} has no field {name!r}")
        field = fields[name]
        target = getattr(message, name)
        if is_map(field):
            fill_map(target, field, value)
        elif field.is_repeated:
            for each in value:
                if field.message_type:
                    fill(target.add(), each)
                else:
                    target.append(to_scalar(field, each))
        elif field.message_type:
            target.SetInParent()
            fill(target, value)
        else:
            setattr(message, name, to_scalar(field, value))
    return message


def fill_map(target: Any, field: Any, values: Mapping[str, Any]) -> None:
    """Set the entries of a map field."""
    of = field.message_type.fields_by_name["value"]
    for key, value in values.items():
        if of.message_type:
            fill(target[key], value)
        else:
            target[key] = to_scalar(of, value)


def is_map(field: Any) -> bool:
    """Whether the field is a map."""
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def to_scalar(field: Any, value: Any) -> Any:
    """A JSON value as the field's own; for bytes see the top of this file."""
    if field.type != field.TYPE_BYTES:
        return value
    if isinstance(value, dict) and value.keys() == {"$raw"}:
        return str(value["$raw"]).encode()
    return json.dumps(value).encode()


def read(message: Any) -> dict[str, Any]:
    """The fields of `message` that are set, by name, ready for JSON."""
    values: dict[str, Any] = {}
    for field, value in message.ListFields():
        if is_map(field):
            of = field.message_type.fields_by_name["value"]
            values[field.name] = {key: from_value(of, value[key]) for key in value}
        elif field.is_repeated:
            values[field.name] = [from_value(field, each) for each in value]
        else:
            values[field.name] = from_value(field, value)
    return values


def from_value(field: Any, value: Any) -> Any:
    """One value, ready for JSON."""
    if field.message_type:
        return read(value)
    if field.type != field.TYPE_BYTES:
        return value
    try:
        return json.loads(value)
    except ValueError:
        return {"$raw": value.decode(errors="backslashreplace")}


def answers(call: Any, requests: Sequence[Any], **how: Any) -> Iterator[dict[str, Any]]:
    """Make the calls, at most WINDOW at once, and tell how each went, in order."""
    import grpc

    under_way: deque[Any] = deque()
    waiting = iter(requests)
    while True:
        for request in itertools.islice(waiting, WINDOW - len(under_way)):
            under_way.append(call.future(request, **how))
        if not under_way:
            return
        try:
            response = under_way.popleft().result()
        except grpc.RpcError as error:
            yield answer(error.code().name, error.details(), None)
        else:
            yield answer("OK", "", read(response))


def answer(
    code: str, details: str | None, response: dict[str, Any] | None
) -> dict[str, Any]:
    """What `PublishedClient.call` returns."""
    return {
        "ok": code == "OK",
        "code": code,
        "details": details or "",
        "response": response,
    }


def serve(directory: str) -> None:
    """Read specifications from standard input until it ends."""
    sys.path.insert(0, directory)
    import grpc

    messages = importlib.import_module("api_pb2")
    stubs = importlib.import_module("api_pb2_grpc")
    service = messages.DESCRIPTOR.services_by_name["CentrifugoApi"]
    open_stubs: dict[str, Any] = {}
    for line in sys.stdin:
        spec = json.loads(line)
        address = spec["address"]
        if address not in open_stubs:
            channel = grpc.insecure_channel(address)
            open_stubs[address] = stubs.CentrifugoApiStub(channel)
        reply: dict[str, Any]
        try:
            method = service.methods_by_name[spec["method"]]
            kind = getattr(messages, method.input_type.name)
            requests = [fill(kind(), each) for each in spec["requests"]]
            how = {
                "timeout": spec["timeout_s"],
                "metadata": [tuple(pair) for pair in spec["metadata"]],
            }
            call = getattr(open_stubs[address], spec["method"])
            reply = {"answers": list(answers(call, requests, **how))}
        except (KeyError, TypeError, ValueError) as error:
            reply = {"fault": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
