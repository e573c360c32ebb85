"""The tables of the published schemas in proto/wire, and what is made from them.

`python -m tests.support.wire_table` writes proto/wire/published.binpb anew. This
file knows the tables only: it reads neither our .proto files nor generated code.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
WIRE = ROOT / "proto" / "wire"
IMAGE = WIRE / "published.binpb"
NAMES = ("api", "client", "unistream")

# The one file option that published clients depend on.
GO_PACKAGE = {"api": "./;apiproto"}


@dataclass(frozen=True)
class Field:
    """One row of a message: `type` as written in a .proto, maps included."""

    name: str
    number: int
    type: str
    label: str


@dataclass(frozen=True)
class Rpc:
    """One call; `streams` means that the server answers with a stream."""

    name: str
    request: str
    response: str
    streams: bool


@dataclass
class Message:
    """One message: its fields and its reserved numbers."""

    fields: list[Field] = field(default_factory=list)
    reserved: list[int] = field(default_factory=list)


@dataclass
class Table:
    """One published .proto file as its table tells it."""

    package: str = ""
    service: str = ""
    rpcs: list[Rpc] = field(default_factory=list)
    messages: dict[str, Message] = field(default_factory=dict)


def read_table(name: str) -> Table:
    """Read proto/wire/<name>.csv; a row of an unknown kind is an error."""
    table = Table()
    with (WIRE / f"{name}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            _take(table, row)
    return table


def _take(table: Table, row: dict[str, str]) -> None:
    match row["kind"]:
        case "package":
            table.package = row["name"]
        case "rpc":
            request, response = row["type"].split("->")
            streams = row["label"] == "server_stream"
            table.service = row["parent"]
            table.rpcs.append(
                Rpc(row["name"], request, response.removeprefix("stream "), streams)
            )
        case "message":
            table.messages[row["name"]] = Message()
        case "field":
            table.messages[row["parent"]].fields.append(
                Field(row["name"], int(row["number"]), row["type"], row["label"])
            )
        case "reserved":
            table.messages[row["parent"]].reserved.append(int(row["number"]))
        case kind:
            raise ValueError(f"proto/wire: a row of unknown kind {kind!r}: {row}")


def read_additions() -> dict[str, list[Field]]:
    """The fields of proto/wire/additions.csv, by message."""
    additions: dict[str, list[Field]] = {}
    with (WIRE / "additions.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            additions.setdefault(row["message"], []).append(
                Field(row["field"], int(row["number"]), row["type"], row["label"])
            )
    return additions


def render(name: str) -> str:
    """Write the table of that name as the text of a .proto file."""
    table = read_table(name)
    lines = ['syntax = "proto3";', f"package {table.package};"]
    if name in GO_PACKAGE:
        lines.append(f'option go_package = "{GO_PACKAGE[name]}";')
    if table.service:
        lines.append(f"service {table.service} {{")
        for rpc in table.rpcs:
            answer = ("stream " if rpc.streams else "") + rpc.response
            lines.append(f"  rpc {rpc.name}({rpc.request}) returns ({answer});")
        lines.append("}")
    for message, body in table.messages.items():
        lines.append(f"message {message} {{")
        lines += [f"  reserved {number};" for number in body.reserved]
        for row in body.fields:
            label = "repeated " if row.label == "repeated" else ""
            lines.append(f"  {label}{row.type} {row.name} = {row.number};")
        lines.append("}")
    return "\n".join(lines) + "\n"


def buf(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run the buf of this Python's environment; a missing one is an error."""
    found = shutil.which("buf", path=str(Path(sys.executable).parent))
    if found is None:
        raise FileNotFoundError("buf is not installed: run `make install`")
    return subprocess.run(
        [found, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def build_image(target: Path) -> None:
    """Compile the tables with buf into one image at `target`."""
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            (Path(folder) / f"{name}.proto").write_text(render(name))
        built = buf(
            "build", "--exclude-source-info", "-o", str(target), cwd=Path(folder)
        )
    if built.returncode:
        raise RuntimeError(f"buf build failed: {built.stderr}")


if __name__ == "__main__":
    build_image(IMAGE)
    print(f"wrote {IMAGE.relative_to(ROOT)}")
