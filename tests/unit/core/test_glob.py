from __future__ import annotations

import pytest

from tocsin.core.glob import compile_glob


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("news", ["news"], ["newss", "xnews", ""]),
        ("", [""], ["a"]),
        ("*", ["", "a:b/c.d", "a\nb"], []),
        ("**", ["", "a"], []),
        ("a*c", ["ac", "a::c"], ["ab"]),
        ("a?c", ["abc", "a:c"], ["ac", "abbc"]),
        ("[abc]x", ["ax", "cx"], ["dx", "x"]),
        ("[!abc]x", ["dx"], ["ax", "x"]),
        ("[a-c]", ["b"], ["d", "-"]),
        ("[!a-c]", ["d"], ["b"]),
        ("[a.-]", ["a", ".", "-"], ["b"]),
        ("{foo,ba*}", ["foo", "ba", "bar"], ["fo", "foo,ba"]),
        ("{a,{b,c}d}", ["a", "bd", "cd"], ["b", "d"]),
        (r"a\*", ["a*"], ["ab"]),
        ("a,b}", ["a,b}"], ["a"]),
        ("https://*.example.com", ["https://a.example.com"], ["https://example.com"]),
        ("a.c", ["a.c"], ["abc"]),
    ],
)
def test_what_matches(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    """Each kind of token matches what it is documented to, and the whole name."""
    compiled = compile_glob(pattern)
    assert all(compiled.fullmatch(name) for name in fits)
    assert not any(compiled.fullmatch(name) for name in fits_not)


@pytest.mark.parametrize("pattern", ["[", "[]", "[!]", "[abc", "{a", "a\\", "[z-a]"])
def test_bad_patterns(pattern: str) -> None:
    """What is no pattern is refused instead of matching something else."""
    with pytest.raises(ValueError, match="pattern"):
        compile_glob(pattern)


def test_many_stars_are_one() -> None:
    """A long run of stars does not make matching slow."""
    assert not compile_glob("*" * 60 + "b").fullmatch("a" * 2000)
