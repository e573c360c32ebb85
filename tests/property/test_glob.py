from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.glob import compile_glob

# A pattern as a tree: what it says can then be checked without reading its text.
LITERALS = st.text(st.sampled_from("abc:.*?[]{},\\-!é\n"), min_size=1, max_size=3)
CHARS = st.sampled_from("abc:.é")


def nodes(children: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    sequence = st.lists(children, max_size=4).map(lambda items: ("sequence", items))
    choice = st.lists(sequence, min_size=1, max_size=3).map(
        lambda items: ("choice", items)
    )
    return st.one_of(sequence, choice)


LEAVES = st.one_of(
    LITERALS.map(lambda text: ("literal", text)),
    st.just(("star", None)),
    st.just(("any", None)),
    st.tuples(st.booleans(), st.lists(CHARS, min_size=1, max_size=3)).map(
        lambda pair: ("class", pair)
    ),
    st.tuples(st.booleans(), CHARS, CHARS).map(
        lambda three: ("range", (three[0], *sorted(three[1:])))
    ),
)
TREES = st.recursive(LEAVES, nodes, max_leaves=8).map(lambda n: ("sequence", [n]))
TEXTS = st.text(st.sampled_from("abc:.*é\n"), max_size=8)


def spell(node: Any) -> str:
    kind, value = node
    match kind:
        case "sequence":
            return "".join(map(spell, value))
        case "choice":
            return "{" + ",".join(map(spell, value)) + "}"
        case "literal":
            return "".join(f"\\{c}" if c in "*?[]{},\\" else c for c in value)
        case "star":
            return "*"
        case "any":
            return "?"
        case "class":
            negated, chars = value
            return f"[{'!' if negated else ''}{''.join(chars)}]"
        case _:
            negated, low, high = value
            return f"[{'!' if negated else ''}{low}-{high}]"


def ends(node: Any, text: str, at: int) -> set[int]:
    """Every place where a match that began at `at` may end."""
    kind, value = node
    match kind:
        case "sequence":
            places = {at}
            for item in value:
                places = {end for p in places for end in ends(item, text, p)}
            return places
        case "choice":
            return {end for item in value for end in ends(item, text, at)}
        case "literal":
            return {at + len(value)} if text.startswith(value, at) else set()
        case "star":
            return set(range(at, len(text) + 1))
    if at >= len(text):
        return set()
    if kind == "any":
        return {at + 1}
    negated, *what = value
    chars = what[0] if kind == "class" else None
    inside = text[at] in chars if chars else what[0] <= text[at] <= what[1]
    return {at + 1} if inside is not negated else set()


@given(TREES, TEXTS)
def test_a_pattern_means_what_its_tree_means(tree: Any, text: str) -> None:
    """The compiled pattern agrees with a matcher that tries everything."""
    expected = len(text) in ends(tree, text, 0)
    assert (compile_glob(spell(tree)).fullmatch(text) is not None) == expected


@given(TEXTS)
def test_an_escaped_text_matches_itself_only(text: str) -> None:
    """Escaping makes any name a pattern for that name."""
    pattern = "".join(f"\\{char}" for char in text)
    assert compile_glob(pattern).fullmatch(text)
    assert not compile_glob(pattern).fullmatch(text + "a")


@given(st.text(st.sampled_from("ab*?[]{},\\-!"), max_size=12), TEXTS)
def test_any_text_is_a_pattern_or_refused(pattern: str, text: str) -> None:
    """Nothing but ValueError leaves, and compiling is all that can fail."""
    try:
        compiled = compile_glob(pattern)
    except ValueError:
        return
    compiled.fullmatch(text)
