"""All doors that are tried, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.fuzz.target import Target
from tests.fuzz.targets import answers, client, http2, stored, tokens, websocket

TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        *(http2.SESSION, http2.BLOCKS, http2.HUFFMAN, http2.FRAMES, http2.HEAD),
        websocket.FRAMES,
        *(client.FRAMES, client.SESSION, client.DELTA),
        *(tokens.CLIENT_TOKEN, tokens.JWKS, tokens.PUSH_TOKEN),
        *answers.ANSWERS,
        answers.RETRY_AFTER,
        *(stored.JOB, stored.REQUESTS, stored.TEXT),
    )
}
