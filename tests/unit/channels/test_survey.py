import json
from collections.abc import Sequence

import pytest
from tests.support.channels import Corridor, connection

from tocsin.broker.control_memory import MemoryControlBus
from tocsin.channels.survey import SurveyService
from tocsin.core.errors import BadRequest, InternalError, NotAvailable
from tocsin.core.surveys import TokenInfo


class TwoNodes(MemoryControlBus):
    """A bus on which another node has answers of its own."""

    def __init__(self, other: dict[str, object]) -> None:
        super().__init__("one")
        self.other = other

    async def survey(
        self, op: str, params: bytes, *, timeout_s: float = 10.0
    ) -> Sequence[bytes]:
        own = await super().survey(op, params, timeout_s=timeout_s)
        return [*own, json.dumps(self.other).encode(), b""]


def survey(corridor: Corridor, other: dict[str, object]) -> SurveyService:
    bus = TwoNodes(other)
    bus.listen(corridor.node)
    return SurveyService(bus)


async def test_channels_are_counted_over_all_nodes() -> None:
    """Connections of the same channel are added up."""
    corridor = Corridor()
    corridor.node.subscribers = {"a": 1, "b": 2}
    service = survey(corridor, {"b": 3, "c": 1})
    assert await service.count_channels("") == {"a": 1, "b": 5, "c": 1}


async def test_a_pattern_chooses_channels() -> None:
    """It travels to the nodes; a bad one is the caller's fault."""
    corridor = Corridor()
    corridor.node.subscribers = {"chat:1": 1, "news": 2}
    service = corridor.services.survey
    assert await service.count_channels("chat:*") == {"chat:1": 1}
    with pytest.raises(BadRequest, match="bad request: pattern: "):
        await service.count_channels("[")


async def test_a_silent_node_fails_the_call() -> None:
    """An answer without it would look complete."""
    corridor = Corridor()
    corridor.node.is_silent = True
    with pytest.raises(InternalError):
        await corridor.services.survey.count_channels("")
    with pytest.raises(InternalError):
        await corridor.services.survey.list_connections("u")


async def test_connections_of_a_user_with_labels() -> None:
    """From all nodes; everything that is told of one is read."""
    corridor = Corridor()
    corridor.node.connections = {
        "c1": connection("u", uid="t", issued_at=5, labels={"plan": "pro"}),
        "c2": connection("u", labels={"plan": "free"}),
        "c3": connection("v", labels={"plan": "pro"}),
    }
    service = survey(corridor, {"c4": connection("u", app_name="js")})
    found = await service.list_connections("u")
    assert sorted(found) == ["c1", "c2", "c4"]
    assert found["c1"].token == TokenInfo("t", 5)
    assert found["c1"].channels == {"news": 1}
    assert found["c1"].meta == '{"m":1}'
    assert found["c4"].app_name == "js"
    tree = {"key": "plan", "cmp": "eq", "val": "pro"}
    assert list(await service.list_connections("u", label_filter=tree)) == ["c1"]
    everywhere = await service.list_connections("", label_filter=tree)
    assert sorted(everywhere) == ["c1", "c3"]


async def test_questions_about_connections_that_are_refused() -> None:
    """Nothing asked for, a bad filter, and what is not built."""
    service = Corridor().services.survey
    with pytest.raises(BadRequest, match="user"):
        await service.list_connections("")
    with pytest.raises(BadRequest, match="label_filter"):
        await service.list_connections("u", label_filter={"op": "xor"})
    with pytest.raises(NotAvailable, match="expression"):
        await service.list_connections("u", expression="true")
