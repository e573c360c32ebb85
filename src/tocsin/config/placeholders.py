"""Recognises template placeholders that nobody has filled in. Part of `config`.

It must not know any key, and repeats nothing of a value but the placeholder's shape.
"""

from __future__ import annotations

import re

_IN_TEXT = {
    "${…}": re.compile(r"\$\{\{?\s*[A-Za-z_][^{}]*\}"),
    "$(…)": re.compile(r"\$\([A-Za-z_][\w.-]*\)"),
    "{{…}}": re.compile(r"\{\{[^{}]*\}\}"),
    "#{…}#": re.compile(r"#\{[A-Za-z_][^{}]*\}#?"),
    "<%…%>": re.compile(r"<%[^%]*%>"),
    "@@…@@": re.compile(r"@@[A-Za-z_][\w.-]*@@"),
}
"""Marks that no password has by chance, wherever they stand."""

_WHOLE = {
    "$NAME": re.compile(r"\$(?:[A-Z][A-Z0-9_]*|[A-Za-z]+(?:_[A-Za-z0-9]+)+)"),
    # `<your_app_id>` is the documents' own word for one of yours: see `is_example`.
    "<…>": re.compile(r"<(?!your[-_ ][a-z])[^<>\n]+>"),
    "%NAME%": re.compile(r"%[A-Za-z_][\w.-]*%"),
    "{NAME}": re.compile(r"\{[A-Za-z_][\w.-]*\}"),
    "[NAME]": re.compile(r"\[[A-Za-z_][\w.-]*\]"),
    "@NAME@": re.compile(r"@[A-Za-z_][\w.-]*@"),
    "__NAME__": re.compile(r"__[A-Za-z][\w.-]*__"),
    # What a tool of secrets should have replaced by the secret.
    "op://…": re.compile(r"op://\S+"),
    "vault:…": re.compile(r"vault:\S+[/#]\S+"),
    "ref+…": re.compile(r"ref\+[a-z]\w*://\S+"),
    "ENC[…]": re.compile(r"ENC\[.+\]"),
    "{cipher}…": re.compile(r"\{cipher\}.+"),
    "arn:aws:…": re.compile(r"arn:aws[\w-]*:(?:secretsmanager|ssm):\S+"),
}
"""Marks that count only where they are all of the value."""

_EXAMPLES = re.compile(
    r"(?:please[-_ ]?)?(?:change|replace)[-_ ]?(?:me|this|it)(?:[-_ ].*)?"
    r"|<?your[-_ ].*|example[-_ ].*|.*[-_ ](?:goes[-_ ]here|placeholder)"
    r"|placeholder|todo|tbd|x{3,}|\*{3,}|\.{3}|…|null|nil|none|undefined",
    re.IGNORECASE | re.DOTALL,
)


def find_placeholder(text: str) -> str:
    """The shape of a placeholder in a value, such as `${…}`; empty without one."""
    text = text.strip().strip("'\"")
    for shape, pattern in _IN_TEXT.items():
        if pattern.search(text):
            return shape
    for shape, pattern in _WHOLE.items():
        if pattern.fullmatch(text):
            return shape
    return ""


def refuse_placeholder(text: str) -> str:
    """The text as it is; raises `ValueError` for one with a mark in it."""
    if shape := find_placeholder(text):
        raise ValueError(
            f"is a placeholder that nothing has filled in ({shape}): variables are"
            " not replaced in values; write the value, or set the key's own variable"
        )
    return text


def is_example(text: str) -> bool:
    """Whether a value is one that examples use for "your own" (`change-me`)."""
    return _EXAMPLES.fullmatch(text.strip()) is not None
