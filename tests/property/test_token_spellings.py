from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.push_services import SERVICES


@given(st.sampled_from(tuple(SERVICES)), st.text(max_size=80))
def test_a_spelling_is_final(provider: str, text: str) -> None:
    """Normalising again changes nothing, and nothing else is ever raised."""
    once = SERVICES.tokens_of(provider).comparable(text)
    assert SERVICES.tokens_of(provider).comparable(once) == once


@given(st.binary(min_size=1, max_size=100))
def test_every_spelling_of_any_bytes_agrees(data: bytes) -> None:
    """Of any length, and whatever their digits look like."""
    grouped = data.hex(" ", 4)
    for spelled in (
        data.hex().upper(),
        f"<{grouped}>",
        f"{{length = {len(data)}, bytes = 0x{grouped}}}",
        f"0x{data.hex()}",
        data.hex(":"),
    ):
        assert SERVICES.tokens_of("apns").normalise(spelled) == data.hex()
