from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.json_strings import find_strings

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        return [text for child in children for text in _strings(child)]
    return []


@given(value=_values, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_every_string_is_found_where_it_stands(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    """Whatever the document, the found places hold its strings, in order."""
    document = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(
        errors="surrogatepass"
    )
    found = list(find_strings(document))
    assert [string.text for string in found] == _strings(value)
    for string in found:
        assert json.loads(document[string.start : string.end]) == string.text
