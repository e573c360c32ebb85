import time

import pytest

from tocsin.core.glob import BadGlob, compile_glob


def matches(pattern: str, text: str) -> bool:
    return compile_glob(pattern).fullmatch(text) is not None


@pytest.mark.parametrize(
    ("pattern", "fits", "fails"),
    [
        ("", [""], ["a"]),
        ("news", ["news"], ["new", "newss", ""]),
        ("*", ["", "a", "a:b.c/d", "a\nb"], []),
        ("**", ["", "a:b"], []),
        ("chat:*", ["chat:", "chat:1:2"], ["chat", "xchat:1"]),
        ("a?c", ["abc", "a:c", "aéc"], ["ac", "abbc"]),
        ("[abc]", ["a", "c"], ["d", "", "ab"]),
        ("[!abc]", ["d", "!"], ["a", ""]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[!a-c]x", ["dx"], ["bx"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[-a]", ["a", "-"], ["b"]),
        (r"[\]]", ["]"], ["\\"]),
        (r"[\-a]", ["-", "a"], ["\\"]),
        ("[^a]", ["^", "a"], ["b"]),
        ("{foo,bar*}", ["foo", "bar", "barn"], ["food", "ba"]),
        ("{a,b{c,d}}e", ["ae", "bce", "bde"], ["be", "bcde"]),
        ("{,x}y", ["y", "xy"], ["x"]),
        ("*{ab,a}*b", ["ab", "aab", "xab"], ["a", "b"]),
        ("*a*b*c", ["abc", "xaxbxc"], ["acb", "abcx"]),
        (r"\*", ["*"], ["a", "\\*"]),
        (r"a\{b\,c\}", ["a{b,c}"], ["ab"]),
        ("a]b}c,d", ["a]b}c,d"], ["abcd"]),
        ("a.b+c$", ["a.b+c$"], ["axb+c$"]),
    ],
)
def test_what_fits(pattern: str, fits: list[str], fails: list[str]) -> None:
    """The whole name must match; nothing separates."""
    assert [text for text in fits if not matches(pattern, text)] == []
    assert [text for text in fails if matches(pattern, text)] == []


@pytest.mark.parametrize(
    "pattern",
    [
        "[",
        "[abc",
        "[]",
        "[!]",
        "[z-a]",
        "[a-cx]",
        "{a",
        "{a,b",
        "{a,{b}",
        "\\",
        "[\\",
        "{" * 5000,
        "{a,b}" * 11,
        "a" * 5000,
    ],
)
def test_what_is_no_pattern(pattern: str) -> None:
    """It is said, not guessed."""
    with pytest.raises(BadGlob, match="pattern"):
        compile_glob(pattern)


@pytest.mark.parametrize("pattern", ["*a" * 300 + "*b", "{*a*a,*a}" * 8 + "b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    """Stars do not multiply: a long name that almost fits is refused at once."""
    started = time.process_time()
    assert not matches(pattern, "a" * 1000)
    assert time.process_time() - started < 2
