"""Hub room: what this node answers when all nodes are asked.

It must not ask other nodes; the control bus does. Questions and answers are JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import orjson

from tocsin.core.glob import compile_glob

SurveyHandler = Callable[[bytes], bytes]


def count_channels(subscribers: Mapping[str, int], params: bytes) -> bytes:
    """`{"pattern": glob}` to `{channel: number of connections}`.

    An empty pattern means all. A bad one matches nothing here: the node that asks has
    refused it before.
    """
    pattern = _text(params, "pattern")
    if not pattern:
        return orjson.dumps(dict(subscribers))
    try:
        matches = compile_glob(pattern).fullmatch
    except ValueError:
        return b"{}"
    found = {name: num for name, num in subscribers.items() if matches(name)}
    return orjson.dumps(found)


def list_connections(
    connections: Iterable[tuple[str, str, Callable[[], Mapping[str, object]]]],
    params: bytes,
) -> bytes:
    """`{"user": user}` to `{client id: description}`; no user means everybody."""
    user = _text(params, "user")
    return orjson.dumps(
        {
            client: describe()
            for client, owner, describe in connections
            if not user or owner == user
        }
    )


def _text(params: bytes, name: str) -> str:
    try:
        value = orjson.loads(params or b"{}")
    except orjson.JSONDecodeError:
        return ""
    text = value.get(name) if isinstance(value, dict) else None
    return text if isinstance(text, str) else ""
