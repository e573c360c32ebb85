from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tocsin.api.methods.table import SERVICE
from tocsin.api.openapi import describe, read_comments, render
from tocsin.core.api_methods import snake_case

ROOT = Path(__file__).parents[3]
PROTO = (ROOT / "proto/api.proto").read_text(encoding="utf-8")
COMMITTED = ROOT / "docs/reference/openapi.json"


def test_the_committed_file_is_the_generated_one() -> None:
    """It is written anew by `python -m tocsin.api.openapi` after a change."""
    assert COMMITTED.read_text(encoding="utf-8") == render(PROTO)


def test_every_route_is_described() -> None:
    """Each RPC has a path with words of the schema; the oldest form has its own."""
    paths = describe(PROTO)["paths"]
    routes = {f"/api/{snake_case(rpc.name)}" for rpc in SERVICE.methods}
    assert set(paths) == {"/api", *routes}
    for path in paths.values():
        assert list(path) == ["post"]
        assert path["post"]["description"]
        assert path["post"]["summary"]


def test_every_reference_leads_somewhere() -> None:
    """No `$ref` points into the void, and no schema stands unused."""
    text = json.loads(render(PROTO))
    used = set(_references(text))
    for reference in used:
        node: Any = text
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert node
    names = {f"#/components/schemas/{name}" for name in text["components"]["schemas"]}
    assert names <= used


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_shapes_that_differ_from_the_schema() -> None:
    """Inline JSON has no type, and tokens by provider may be one object."""
    schemas = describe(PROTO)["components"]["schemas"]
    assert "type" not in schemas["FcmPushNotification"]["properties"]["message"]
    tokens = schemas["DeviceRemoveRequest"]["properties"]["provider_tokens"]
    one = {"$ref": "#/components/schemas/ProviderTokens"}
    assert tokens["anyOf"] == [{"type": "array", "items": one}, one]
    assert schemas["DeviceListResult"]["required"] == ["items", "has_more"]
    limit = schemas["DeviceListRequest"]["properties"]["limit"]
    assert (limit["format"], limit["maximum"]) == ("int32", 2**31 - 1)


def test_comments() -> None:
    """The comment right above a thing belongs to it, and to nothing else."""
    text = """
    // Of nothing.

    service S {
      // Does it.
      // Twice.
      rpc DoIt(Req) returns (Res) {}
      rpc Bare(Req) returns (Res) {}
    }
    // A request.
    message Req {
      reserved 1; // no field
      // Its id.
      string id = 2;
      // By name.
      map<string, int32> counts = 3;
      repeated string bare = 4;
    }
    """
    assert dict(read_comments(text)) == {
        "S.DoIt": "Does it. Twice.",
        "Req": "A request.",
        "Req.id": "Its id.",
        "Req.counts": "By name.",
    }
