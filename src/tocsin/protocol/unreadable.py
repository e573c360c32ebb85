"""Protocol room: requests that may be no message at all.

gRPC's own way is a traceback in the log and a status that says nothing; whoever reads
with this can answer instead. It must not know what is answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

M = TypeVar("M", bound=Message)


def reading(kind: type[M]) -> Callable[[bytes], M | None]:
    """A deserializer that gives `None` for what is no `kind`."""
    from_string = kind.FromString

    def read(data: bytes) -> M | None:
        try:
            return from_string(data)
        except DecodeError:
            return None

    return read
