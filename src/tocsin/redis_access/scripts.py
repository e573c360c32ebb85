"""Scripts, called by their hash. Part of the Redis ground room.

It must not know what a script does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from redis import exceptions as foreign
from redis.asyncio import Redis

from tocsin.redis_access.commands import run


class Script:
    """The text of a script, sent only where the server does not know it yet."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._sha = hashlib.sha1(  # noqa: S324 - the name that Redis gives a script
            text.encode()
        ).hexdigest()

    def command(self, keys: Sequence[str], args: Sequence[Any]) -> tuple[Any, ...]:
        """The command that calls it by its hash; the server may not know that."""
        return ("EVALSHA", self._sha, len(keys), *keys, *args)

    async def __call__(
        self, client: Redis, keys: Sequence[str], args: Sequence[Any]
    ) -> Any:
        """Run it; a restarted, flushed or new server is given the text again."""
        try:
            return await run(client, *self.command(keys, args))
        except foreign.NoScriptError:
            return await run(client, "EVAL", self._text, len(keys), *keys, *args)
