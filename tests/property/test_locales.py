from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.locales import MAX_LENGTH, usable_locale


@given(st.text() | st.from_regex(r"[a-zA-Z_#@.;,\\-]{0,40}", fullmatch=True))
def test_whatever_is_said_a_tag_comes_out_or_nothing(said: str) -> None:
    """Short, plain, and the same when it is read again."""
    kept = usable_locale(said)
    assert len(kept) <= MAX_LENGTH
    assert re.fullmatch(r"[A-Za-z0-9_-]*", kept)
    assert usable_locale(kept) == kept
