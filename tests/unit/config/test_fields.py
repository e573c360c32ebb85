import pytest

from tocsin.config.fields import parse_bool, parse_int, parse_texts


@pytest.mark.parametrize("text", [True, 1, "1", "t", "T", "true", "TRUE", " True "])
def test_words_for_true(text: object) -> None:
    """The published server's words for true are taken in any case."""
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", [False, 0, "0", "f", "F", "false", "FALSE"])
def test_words_for_false(text: object) -> None:
    """The published server's words for false are taken in any case."""
    assert parse_bool(text) is False


@pytest.mark.parametrize("bad", ["yes", "", "on", 2, 1.0, None, []])
def test_other_words_are_no_bool(bad: object) -> None:
    """A word that might mean either is refused."""
    with pytest.raises(ValueError, match="true or false"):
        parse_bool(bad)


@pytest.mark.parametrize("bad", [True, 1.0, "1.0", "", "x", "--1", None, "1" * 21])
def test_only_whole_numbers_are_ints(bad: object) -> None:
    """`true` is not 1, and no float is cut."""
    with pytest.raises(ValueError, match="whole number"):
        parse_int(bad)


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        (["a", "b"], ("a", "b")),
        ("a b", ("a", "b")),
        ("a, b,c", ("a", "b", "c")),
        ('["a b", "c"]', ("a b", "c")),
        ("", ()),
        ([], ()),
    ],
)
def test_lists_may_be_text(value: object, texts: tuple[str, ...]) -> None:
    """A list comes from JSON, from words or from a JSON text in a variable."""
    assert parse_texts(value) == texts


@pytest.mark.parametrize("bad", [5, ["a", 1], "[1]", "[x]", {"a": 1}])
def test_what_is_no_list_of_texts_is_refused(bad: object) -> None:
    """Numbers in a list of names are an error."""
    with pytest.raises(ValueError, match="must be a"):
        parse_texts(bad)
