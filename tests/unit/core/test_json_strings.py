from __future__ import annotations

from tocsin.core.json_strings import find_strings


def test_paths_and_places() -> None:
    """Keys are no values; arrays count from 0; a lone string has no path."""
    document = b'{"a":{"b":["x",{"c":"y:,{"}],"n":1.0},"d":"z\\"q","e":[],"f":{}}'
    found = [(each.path, each.text) for each in find_strings(document)]
    assert found == [("a.b[0]", "x"), ("a.b[1].c", "y:,{"), ("d", 'z"q')]
    assert [(s.path, s.text) for s in find_strings(b'"s"')] == [("", "s")]
    assert [s.path for s in find_strings(b'["a", ["b", "c"]]')] == [
        "[0]",
        "[1][0]",
        "[1][1]",
    ]
