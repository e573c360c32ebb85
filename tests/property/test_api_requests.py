"""Random requests on every built RPC: always a table code, a field, no change."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import structlog
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.api import World
from tests.support.channels import Corridor
from tests.support.messages import PLAUSIBLE, SCALARS, fields

from tocsin.api.auth import ANYBODY
from tocsin.api.call import Call
from tocsin.api.methods.table import BUILT, SERVICE
from tocsin.core.device import PLATFORMS
from tocsin.core.errors import ApiError, BadRequest
from tocsin.core.ids import new_id
from tocsin.core.push_services import SERVICES

_TEXTS = st.one_of(
    st.sampled_from(
        ["", *SERVICES, *PLATFORMS, "add", "remove", "set", "u", "news", "UTC", "en"]
    ),
    st.sampled_from(["x", "kept:1", "seen:1", "map:1", "no:1", "[", "*", "AA==", "eq"]),
    st.just(new_id("fcm")),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.sampled_from(["x" * 300, "\0", "x" * 9000, '{"endpoint":"https://a.example/"}']),
)
_BYTES = st.one_of(
    st.sampled_from([b"{}", b'{"a":1}', b"[]", b"", b"\xff", b"{" * 3000]),
    st.binary(max_size=12),
)
_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    **SCALARS,
    FieldDescriptor.TYPE_STRING: _TEXTS,
    FieldDescriptor.TYPE_BYTES: _BYTES,
    FieldDescriptor.TYPE_INT32: (
        st.integers(-3, 3) | SCALARS[FieldDescriptor.TYPE_INT32]
    ),
    FieldDescriptor.TYPE_INT64: (
        st.integers(-3, 3) | SCALARS[FieldDescriptor.TYPE_INT64]
    ),
}
_CODES = frozenset({102, 104, 107, 108, 112, 113})
"""What any method may answer without a fault of the server."""


@st.composite
def _requests(draw: st.DrawFn) -> tuple[str, Any]:
    rpc = SERVICE.methods_by_name[draw(st.sampled_from(sorted(BUILT)))]
    drawn = draw(fields(rpc.input_type, _SCALARS))
    if draw(st.booleans()):
        drawn = {**PLAUSIBLE.get(rpc.name, {}), **drawn}
    return rpc.name, GetMessageClass(rpc.input_type)(**drawn)


async def _answer(world: World, name: str, request: Any) -> tuple[ApiError | None, Any]:
    response: Any = GetMessageClass(SERVICE.methods_by_name[name].output_type)()
    result = response.result
    try:
        await BUILT[name](world.services, request, result, Call("c", ANYBODY))
    except ApiError as error:
        return error, result
    return None, result


def _knows(message: Any, path: str) -> bool:
    """Whether the path of an error leads through fields of the schema."""
    for part in path.split("[")[0].split("."):
        field = message.fields_by_name.get(part)
        if field is None:
            return False
        message = field.message_type
    return True


@settings(max_examples=400, deadline=None)
@given(_requests())
def test_any_request_is_answered_from_the_table(drawn: tuple[str, Any]) -> None:
    """Whatever comes in, the answer is a result or a known error by field."""
    name, request = drawn
    world, corridor = World(), Corridor()
    world.services = replace(world.services, realtime=corridor.services)
    asyncio.run(corridor.hear("x", "kept:1", "seen:1"))
    with structlog.testing.capture_logs():
        error, result = asyncio.run(_answer(world, name, request))
    if error is None:
        assert result.IsInitialized()
        return
    assert error.code in _CODES
    assert world.changes == 0
    assert corridor.node.commands == []
    assert corridor.heard.publications == []
    assert world.uids.claims == {}
    if isinstance(error, BadRequest):
        message = SERVICE.methods_by_name[name].input_type
        assert _knows(message, error.field), error.field


@settings(max_examples=50, deadline=None)
@given(st.lists(_requests(), max_size=8))
def test_services_stay_sane_over_many_requests(drawn: list[tuple[str, Any]]) -> None:
    """A row of requests leaves a registry that can still be listed."""
    world = World()
    world.services = replace(world.services, realtime=Corridor().services)

    async def run() -> None:
        for name, request in drawn:
            error, _ = await _answer(world, name, request)
            assert error is None or error.code in _CODES
        listing = GetMessageClass(SERVICE.methods_by_name["DeviceList"].input_type)
        error, _ = await _answer(world, "DeviceList", listing())
        assert error is None

    with structlog.testing.capture_logs():
        asyncio.run(run())
