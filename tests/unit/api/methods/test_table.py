from __future__ import annotations

import inspect
import re

from tests.support.wire_table import ROOT

from tocsin.api.call import correlation_id_from
from tocsin.api.methods import maps
from tocsin.api.methods.table import (
    ADMIN_BUILT,
    ADMIN_COMMANDS,
    ADMIN_SERVICE,
    ADMIN_STREAMS,
    BUILT,
    COMMANDS,
    COMPOSED,
    SERVICE,
)
from tocsin.core.api_methods import snake_case


def test_every_rpc_is_decided() -> None:
    """Each RPC of the schema has a method or is composed of others."""
    names = [rpc.name for rpc in SERVICE.methods]
    assert len(names) == 40
    assert sorted([*BUILT, *COMPOSED]) == sorted(names)


def test_every_rpc_for_operators_is_built() -> None:
    """None is without a method, and none shares its name with one of the API."""
    streams = [rpc.name for rpc in ADMIN_SERVICE.methods if rpc.server_streaming]
    assert sorted(ADMIN_STREAMS) == sorted(streams)
    built = sorted([*ADMIN_BUILT, *ADMIN_STREAMS])
    assert built == sorted(rpc.name for rpc in ADMIN_SERVICE.methods)
    assert not set(ADMIN_COMMANDS) & set(COMMANDS)  # both are labels of one metric


def test_methods_carry_the_names_of_their_rpcs() -> None:
    """The function of an RPC has its name in snake case and is a coroutine."""
    for rpc, method in [*BUILT.items(), *ADMIN_BUILT.items()]:
        assert inspect.iscoroutinefunction(method)
        assert method.__name__ == snake_case(rpc)


def test_the_schema_says_what_is_not_built() -> None:
    """Its comments tell of exactly those calls that answer 108 whatever they hold."""
    text = (ROOT / "proto" / "api.proto").read_text(encoding="utf-8")
    told = re.findall(
        r"^((?:  //.*\n)+)  rpc (\w+)\(", text.split("service ")[1], re.MULTILINE
    )
    assert len(told) == len(SERVICE.methods)
    unavailable = {
        rpc for rpc, method in BUILT.items() if method.__module__ == maps.__name__
    }
    assert len(unavailable) == 7
    assert {rpc for comment, rpc in told if "Not built yet" in comment} == unavailable


def test_correlation_id() -> None:
    """A sane request id is kept; any other is replaced by a fresh one."""
    assert correlation_id_from("req-1:a/b@c=") == "req-1:a/b@c="
    for bad in ("", "two words", "x" * 129, "line\nbreak", "é"):
        made = correlation_id_from(bad)
        assert made
        assert made != bad
        assert made != correlation_id_from(bad)
