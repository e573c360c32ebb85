"""Templates in the manner of Go's text/template: read, checked, made callable. Pure.

What is offered is `{{.device.id}}`, `.device.user`, `.device.meta.KEY`,
`.l10n.NAME`, the functions below, pipes, parentheses, `if`/`else`/`end`, comments
and trim markers. Text is written `[[so]]`, "so" or `so`. All types are known when a
template is read, so that rendering cannot meet a wrong one. It must not know where
a template stands or how its result is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tocsin.core.device import Detail
from tocsin.core.template_values import (
    FUNCTIONS,
    DeviceFields,
    Expression,
    ValueKind,
    WrongArguments,
    constant,
    entry_of,
)

MAX_DEPTH = 50
"""Nested blocks and parentheses, `else if` included."""

_OPEN = re.compile(r"\{\{(-(?=\s))?")
# As in Go: a minus trims only where a space stands between it and the text.
_COMMENT = re.compile(r"\s*/\*.*?\*/(?P<close>\s+-\}\}|\s*\}\})", re.DOTALL)
_TOKEN = re.compile(
    r"(?P<close>\s+-\}\}|\s*\}\})"
    r"|(?P<space>\s+)"
    r"|(?P<literal>\[\[.*?\]\])"
    r'|(?P<quoted>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<raw>`[^`]*`)"
    r"|(?P<path>(?:\.[^\W\d]\w*)+|\.)"
    r"|(?P<word>[^\W\d]\w*)"
    r"|(?P<sign>[|()])",
    re.DOTALL,
)
_UNSUPPORTED = frozenset(
    {"range", "with", "define", "template", "block", "break", "continue"}
)
_BLOCK_WORDS = frozenset({"if", "else", "end"})


class TemplateFault(ValueError):
    """The template cannot be used; `column` counts characters from 1."""

    def __init__(self, reason: str, column: int) -> None:
        self.reason = reason
        self.column = column
        super().__init__(f"column {column}: {reason}")


@dataclass(frozen=True, slots=True)
class Scope:
    """Which variables a template may use beside `.device.id` and `.device.user`."""

    meta: bool = False
    l10n: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """Text that is the same for every device."""

    text: str


@dataclass(frozen=True, slots=True)
class Print:
    """Text that `value` finds for a device."""

    value: Callable[[DeviceFields], str]


@dataclass(slots=True)
class Branch:
    """`then` where `condition` holds for a device, else `otherwise`."""

    condition: Callable[[DeviceFields], bool]
    then: list[Node] = field(default_factory=list)
    otherwise: list[Node] = field(default_factory=list)


Node = Text | Print | Branch


@dataclass(frozen=True, slots=True)
class Template:
    """A readable template; `uses` are the details of a device that it reads."""

    nodes: Sequence[Node]
    uses: frozenset[Detail]
    actions: int

    def render(self, device: DeviceFields) -> str:
        """The text for one device."""
        return "".join(_render(self.nodes, device))


def is_template(text: str) -> bool:
    """Whether the text has anything to render."""
    return "{{" in text


def parse_template(text: str, scope: Scope) -> Template:
    """Read a template; raises `TemplateFault` with the place of the fault."""
    return _Parser(text, scope).parse()


def _render(nodes: Sequence[Node], device: DeviceFields) -> list[str]:
    parts: list[str] = []
    for node in nodes:
        if isinstance(node, Text):
            parts.append(node.text)
        elif isinstance(node, Print):
            parts.append(node.value(device))
        else:
            chosen = node.then if node.condition(device) else node.otherwise
            # The recursion is bounded: the parser refuses nesting beyond
            # MAX_DEPTH.
            parts += _render(chosen, device)
    return parts


@dataclass(slots=True)
class _Block:
    """An open `if`: where it stands, its branch now, and its `else` state."""

    at: int
    branch: Branch
    nodes: list[Node]
    depth: int = 1
    has_else: bool = False


class _Parser:
    """One reading of one text, from left to right."""

    def __init__(self, text: str, scope: Scope) -> None:
        self._text = text
        self._scope = scope
        self._at = 0
        self._root: list[Node] = []
        self._blocks: list[_Block] = []
        self._uses: set[Detail] = set()
        self._actions = 0
        self._depth = 0

    def parse(self) -> Template:
        trim = False
        while True:
            opening = _OPEN.search(self._text, self._at)
            end = opening.start() if opening else len(self._text)
            self._add_text(self._at, end, trim, bool(opening and opening[1]))
            if opening is None:
                break
            self._at = opening.end()
            trim = self._action(opening.start())
        if self._blocks:
            raise self._fault("if without an end", self._blocks[-1].at)
        return Template(self._root, frozenset(self._uses), self._actions)

    def _fault(self, reason: str, at: int | None = None) -> TemplateFault:
        return TemplateFault(reason, (self._at if at is None else at) + 1)

    @property
    def _nodes(self) -> list[Node]:
        return self._blocks[-1].nodes if self._blocks else self._root

    def _add_text(self, start: int, end: int, left: bool, right: bool) -> None:
        text = self._text[start:end]
        if left:
            text = text.lstrip()
        if right:
            text = text.rstrip()
        if text:
            self._nodes.append(Text(text))

    def _action(self, start: int) -> bool:
        """Read up to the closing braces; returns whether they trim what follows."""
        self._actions += 1
        if comment := _COMMENT.match(self._text, self._at):
            self._at = comment.end()
            return _trims(comment)
        tokens, close = self._tokens(start)
        if not tokens:
            raise self._fault("the braces are empty", start)
        word = tokens[0].text if tokens[0].kind == "word" else ""
        if word in _UNSUPPORTED:
            raise self._fault(f"{word} is not supported", tokens[0].at)
        if word in _BLOCK_WORDS:
            self._block(word, tokens, start)
        else:
            expression = self._pipeline(_Tokens(tokens, close.start()))
            self._nodes.append(Print(self._printed(expression, tokens[0].at)))
        return _trims(close)

    def _tokens(self, start: int) -> tuple[list[_Token], re.Match[str]]:
        tokens: list[_Token] = []
        while True:
            match = _TOKEN.match(self._text, self._at)
            if match is None:
                raise self._unreadable(start)
            self._at = match.end()
            kind = match.lastgroup or ""
            if kind == "close":
                return tokens, match
            if kind != "space":
                tokens.append(_Token(kind, match[0], match.start()))

    def _unreadable(self, start: int) -> TemplateFault:
        rest = self._text[self._at :]
        if not rest:
            return self._fault("the braces are not closed", start)
        if rest.startswith(("[[", '"', "`")):
            return self._fault("the text is not closed")
        if rest[0].isdigit():
            return self._fault("numbers are not supported")
        if rest[0] == "$":
            return self._fault("own variables are not supported")
        hint = ""
        if self._at and (self._text[self._at - 1].isalnum() and rest[0] in "-:/@"):
            hint = "; such a key is written index .device.meta [[key]]"
        return self._fault(f"unexpected {rest[0]!r}{hint}")

    def _block(self, word: str, tokens: list[_Token], start: int) -> None:
        if word == "if":
            self._open_block(tokens[1:], start, depth=len(self._blocks) + 1)
        elif not self._blocks:
            raise self._fault(f"{word} without an if", start)
        elif word == "end":
            self._no_more(tokens[1:])
            self._blocks.pop()
        else:
            self._else(tokens[1:], start)

    def _open_block(self, tokens: list[_Token], start: int, *, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._fault(f"nested more than {MAX_DEPTH} deep", start)
        branch = self._branch(tokens, start)
        self._nodes.append(branch)
        self._blocks.append(_Block(start, branch, branch.then, depth))

    def _branch(self, tokens: list[_Token], start: int) -> Branch:
        if not tokens:
            raise self._fault("if needs a condition", start)
        condition = self._pipeline(_Tokens(tokens, self._at))
        value = condition.value
        return Branch(lambda device: bool(value(device)))

    def _else(self, tokens: list[_Token], start: int) -> None:
        block = self._blocks[-1]
        if block.has_else:
            raise self._fault("a second else", start)
        otherwise = block.branch.otherwise
        if tokens and (tokens[0].kind, tokens[0].text) == ("word", "if"):
            block.depth += 1
            if block.depth > MAX_DEPTH:
                raise self._fault(f"nested more than {MAX_DEPTH} deep", start)
            # `else if` is an `if` in the `else`, with the same `end`: the
            # block goes on with it.
            block.branch = self._branch(tokens[1:], start)
            otherwise.append(block.branch)
            block.nodes = block.branch.then
            return
        self._no_more(tokens)
        block.has_else = True
        block.nodes = otherwise

    def _no_more(self, tokens: list[_Token]) -> None:
        if tokens:
            raise self._fault(f"unexpected {tokens[0].text!r}", tokens[0].at)

    def _printed(self, expression: Expression, at: int) -> Callable[..., str]:
        value = expression.value
        if expression.kind is ValueKind.MAP:
            raise self._fault("is a whole map; name one of its keys", at)
        if expression.kind is ValueKind.TRUTH:
            return lambda device: "true" if value(device) else "false"
        return value

    def _pipeline(self, tokens: _Tokens) -> Expression:
        expression = self._command(tokens, None)
        while tokens.take("|"):
            expression = self._command(tokens, expression)
        if rest := tokens.next():
            raise self._fault(f"unexpected {rest.text!r}", rest.at)
        return expression

    def _command(self, tokens: _Tokens, piped: Expression | None) -> Expression:
        head = tokens.next()
        if head is None:
            raise self._fault("a value is missing", tokens.end)
        arguments: list[Expression] = []
        if head.kind != "word":
            value = self._operand(head, tokens)
            if piped is not None or tokens.more():
                raise self._fault(f"{head.text} is no function", head.at)
            return value
        function = FUNCTIONS.get(head.text)
        if function is None:
            known = ", ".join(sorted(FUNCTIONS))
            reason = f"unknown function {head.text!r}; known: {known}"
            raise self._fault(reason, head.at)
        while (following := tokens.next_operand()) is not None:
            arguments.append(self._operand(following, tokens))
        # As in Go, the piped value is the last argument.
        if piped is not None:
            arguments.append(piped)
        try:
            return function(arguments)
        except WrongArguments as wrong:
            raise self._fault(f"{head.text} {wrong}", head.at) from None

    def _operand(self, token: _Token, tokens: _Tokens) -> Expression:
        if token.text == "(":
            return self._parenthesised(token, tokens)
        if token.kind == "path":
            return self._variable(token)
        if token.kind == "literal":
            return constant(token.text[2:-2])
        if token.kind == "raw":
            return constant(token.text[1:-1])
        if token.kind == "quoted":
            try:
                return constant(json.loads(token.text))
            except ValueError:
                raise self._fault("unknown escape in the text", token.at) from None
        hint = "; put a call into parentheses" if token.kind == "word" else ""
        raise self._fault(f"unexpected {token.text!r}{hint}", token.at)

    def _parenthesised(self, opening: _Token, tokens: _Tokens) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._fault(f"nested more than {MAX_DEPTH} deep", opening.at)
        inner = tokens.until_closing()
        if inner is None:
            raise self._fault("the parenthesis is not closed", opening.at)
        expression = self._pipeline(inner)
        self._depth -= 1
        return expression

    def _variable(self, token: _Token) -> Expression:
        match token.text.split(".")[1:]:
            case ["device", "id"]:
                return Expression(ValueKind.TEXT, lambda device: device.id)
            case ["device", "user"]:
                self._uses.add(Detail.USER)
                return Expression(ValueKind.TEXT, lambda device: device.user)
            case ["device", "meta", *rest] if len(rest) < 2:
                if not self._scope.meta:
                    raise self._fault(f"{token.text} needs use_meta", token.at)
                self._uses.add(Detail.META)
                return entry_of(lambda device: device.meta, rest)
            case ["l10n", *rest] if len(rest) < 2:
                if not self._scope.l10n:
                    raise self._fault(f"{token.text} needs localizations", token.at)
                self._uses.add(Detail.LOCALE)
                return entry_of(lambda device: device.l10n, rest)
        raise self._fault(
            f"unknown variable {token.text}; known: .device.id, .device.user,"
            " .device.meta.KEY, .l10n.NAME",
            token.at,
        )


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


class _Tokens:
    """The tokens of one pipeline."""

    def __init__(self, tokens: list[_Token], end: int) -> None:
        self._tokens = tokens
        self._next = 0
        self.end = end

    def next(self) -> _Token | None:
        if self._next == len(self._tokens):
            return None
        self._next += 1
        return self._tokens[self._next - 1]

    def next_operand(self) -> _Token | None:
        """The next token, if it is an operand."""
        return self.next() if self.more() else None

    def more(self) -> bool:
        """Whether another operand follows."""
        left = self._next < len(self._tokens)
        return left and self._tokens[self._next].text != "|"

    def take(self, sign: str) -> bool:
        """Take the sign if it comes next."""
        left = self._next < len(self._tokens)
        found = left and self._tokens[self._next].text == sign
        self._next += found
        return found

    def until_closing(self) -> _Tokens | None:
        """What stands up to the closing parenthesis, which is taken too."""
        depth, start = 1, self._next
        while (token := self.next()) is not None:
            depth += {"(": 1, ")": -1}.get(token.text, 0)
            if not depth:
                return _Tokens(self._tokens[start : self._next - 1], token.at)
        return None


def _trims(close: re.Match[str]) -> bool:
    return close["close"].endswith("-}}")
