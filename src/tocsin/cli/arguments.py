"""How a command line is read: options anywhere, nothing twice, faults in one line.

It must stay cheap to import: every verb's arguments are built for `--help`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

_NEGATIVE = re.compile(r"-\.?[0-9].*", re.DOTALL)
_LEAST_LIKENESS = 0.6
_WORD = re.compile(r"[-_A-Za-z]{0,12}|-?[0-9.]{1,8}")


class LineParser(argparse.ArgumentParser):
    """Tells a fault of usage in one line, and ends with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and where to read on."""
        line = f"{self.prog}: {message}; see {self.prog} --help"
        self.exit(2, f"{printable(line)}\n")


class CommandParser(LineParser):
    """That of the program: a verb, and its own options or help before it."""

    def parse_known_args(  # type: ignore[override] # the overloads add nothing here
        self,
        args: Sequence[str] | None = None,
        namespace: Any = None,
    ) -> tuple[Any, list[str]]:
        """See `argparse`; a word that is no verb is told with the nearest one."""
        line = sys.argv[1:] if args is None else list(args)
        verbs = self._verbs()
        first = line[0] if line else ""
        for word in line:
            if not _is_text(word):
                self.error(f"{shown(word)} is no UTF-8 text")
        if not line:
            self.error(f"name what to do: {', '.join(verbs)}")
        elif first.startswith("-") and first not in self._option_string_actions:
            option = first.partition("=")[0]
            name = shown_option(option)
            self.error(f"{name} stands before a verb: tocsin VERB {name} is the order")
        elif not first.startswith("-") and first not in verbs:
            self.error(f"{shown(first)} is no verb{nearest(first, verbs)}")
        return super().parse_known_args(line, namespace)

    def _verbs(self) -> list[str]:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return list(action.choices)
        return []


class VerbParser(LineParser):
    """That of one verb: options may stand before, between and after the rest.

    An option of one value that is given twice is a fault: the last one would win
    without a word.
    """

    def parse_known_args(  # type: ignore[override] # the overloads add nothing here
        self,
        args: Sequence[str] | None = None,
        namespace: Any = None,
    ) -> tuple[Any, list[str]]:
        """See `argparse`; what no option and no argument takes is a fault."""
        line = self._sort(sys.argv[1:] if args is None else args)
        parsed, rest = super().parse_known_args(line, namespace)
        if rest:
            self.error(self._describe_unknown(rest))
        return parsed, rest

    def _sort(self, args: Sequence[str]) -> list[str]:
        """All options first, each with its value; then all that are none."""
        options: list[str] = []
        others: list[str] = []
        given: set[str] = set()
        line = list(args)
        while line:
            word = line.pop(0)
            if word == "--":
                return [*options, "--", *others, *line]
            if word == "-" or not word.startswith("-") or _NEGATIVE.fullmatch(word):
                others.append(word)
                continue
            name, equals, _ = word.partition("=")
            action = self._find_option(name)
            if action is None:
                self.error(self._describe_unknown([word]))
            if action.nargs == 0:
                options.append(word)
                continue
            self._note(action, given)
            is_long = name.startswith("--")
            if equals or not (is_long or name in self._option_string_actions):
                options.append(word)
            elif line and self._is_value(line[0]):
                options += _join(name, line.pop(0))
            else:
                self.error(f"{name} takes a value")
        # Without the dashes argparse would take a word such as -5-goals for an option.
        dashes = ["--"] if any(word.startswith("-") for word in others) else []
        return [*options, *dashes, *others]

    def _find_option(self, name: str) -> argparse.Action | None:
        """Of a long name, its unique beginning, or a short name with its value."""
        known = self._option_string_actions
        if name in known:
            return known[name]
        if name.startswith("--"):
            # By action, since one option may have several spellings.
            found = {id(a): a for text, a in known.items() if text.startswith(name)}
            return next(iter(found.values())) if len(found) == 1 else None
        return known.get(name[:2])

    def _is_value(self, word: str) -> bool:
        return (
            not word.startswith("-") or bool(_NEGATIVE.fullmatch(word)) or word == "-"
        )

    def _note(self, action: argparse.Action, given: set[str]) -> None:
        if not isinstance(action, argparse._StoreAction):
            return
        if action.dest in given:
            self.error(
                f"{action.option_strings[-1]} is given twice; it takes one value"
            )
        given.add(action.dest)

    def _describe_unknown(self, rest: Sequence[str]) -> str:
        word = rest[0]
        if word.startswith("-"):
            name = word.partition("=")[0]
            hint = nearest(name, self._option_string_actions)
            return f"{shown_option(name)} is no option of it{hint}"
        return f"it takes no {' '.join(map(shown, rest))}"


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """A `type` that takes these words alone, and tells the nearest of them."""

    def check(text: str) -> str:
        if text in words:
            return text
        hint = nearest(text, words)
        raise argparse.ArgumentTypeError(
            f"{shown(text)} is none of {', '.join(words)}{hint}"
        )

    return check


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?`, or nothing where no known word is like it."""
    import difflib

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=_LEAST_LIKENESS)
    return f"; did you mean {found[0]}?" if found else ""


def shown(word: str) -> str:
    """A word in quotes; only the beginning of one that may be a secret."""
    is_plain = len(word) <= 4 or _WORD.fullmatch(word)
    return repr(word) if is_plain else repr(f"{word[:4]}…")


def shown_option(name: str) -> str:
    """An option as it was typed; only the beginning of one that looks random."""
    from tocsin.config.showing import show_name

    return name if show_name(name) == name else shown(name)


def printable(text: str) -> str:
    """What somebody typed, in one line of any terminal."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:  # bytes that the system could not read as text
        return False
    return True


def _join(name: str, value: str) -> list[str]:
    """Together, where the value could be taken for an option."""
    if not value.startswith("-") or value == "-":
        return [name, value]
    return [f"{name}={value}" if name.startswith("--") else f"{name}{value}"]


def port(text: str) -> int:
    """A `type` for TCP ports; 0 is any free one."""
    try:
        number = int(text)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no port: take 0 to 65535")
    return number


def file_name(text: str) -> str:
    """A `type` for a file that is to be read; an unset variable names none."""
    if not text:
        raise argparse.ArgumentTypeError("names no file")
    return text
