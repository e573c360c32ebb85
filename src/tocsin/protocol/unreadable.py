"""Protocol room: reads gRPC requests whose bytes may not be a message.

gRPC itself would log a traceback and answer with a status that explains nothing; with
this the handler is called and can answer. It must not know the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

M = TypeVar("M", bound=Message)


def reading(kind: type[M]) -> Callable[[bytes], M | None]:
    """A deserializer that returns `None` for bytes that are not a `kind`."""
    from_string = kind.FromString

    def read(data: bytes) -> M | None:
        try:
            return from_string(data)
        except DecodeError:
            return None

    return read
