"""Whatever devices bring, a rendered body is the caller's JSON with their words."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tocsin.core.push import Body, Recipients, Send, TargetKind, Templating
from tocsin.core.template_values import DeviceFields
from tocsin.core.templates import Scope, TemplateFault, parse_template
from tocsin.delivery.rendering import BodyRenderer

_NASTY = [
    '"',
    "\\",
    '"},{"a":"',
    "{{.device.id}}",
    "\x00\x1f\x7f",
    "\u2028",
    "</",
    "🙂",
]
_words = st.lists(st.one_of(st.sampled_from(_NASTY), st.text(max_size=6))).map("".join)
_actions = st.sampled_from(
    [
        ("{{.device.id}}", lambda d: d.id),
        ("{{.device.user}}", lambda d: d.user),
        ("{{.device.meta.nick}}", lambda d: d.meta.get("nick", "")),
        ("{{index .device.meta [[a b]]}}", lambda d: d.meta.get("a b", "")),
        ("{{default [[x]] .l10n.hi}}", lambda d: d.l10n.get("hi") or "x"),
        ("{{if .device.user}}y{{else}}n{{end}}", lambda d: "y" if d.user else "n"),
    ]
)
# Braces of a plain text would begin or end an action.
_plain = _words.filter(lambda text: "{" not in text and "}" not in text)
_strings = st.lists(
    st.one_of(_plain.map(lambda text: (text, lambda _: text)), _actions), max_size=4
)
_trees = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), _strings.map(tuple)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_plain, inner, max_size=3)
    ),
    max_leaves=8,
)


def _write(tree: Any) -> Any:
    """The tree with its templates as text."""
    if isinstance(tree, tuple):
        return "".join(template for template, _ in tree)
    if isinstance(tree, dict):
        return {key: _write(value) for key, value in tree.items()}
    return [_write(value) for value in tree] if isinstance(tree, list) else tree


def _expect(tree: Any, device: DeviceFields) -> Any:
    """The tree as this device shall read it."""
    if isinstance(tree, tuple):
        return "".join(value(device) for _, value in tree)
    if isinstance(tree, dict):
        return {key: _expect(value, device) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_expect(value, device) for value in tree]
    return tree


@given(
    tree=_trees,
    ids=st.lists(_words, min_size=2, max_size=2),
    users=st.lists(_words, min_size=2, max_size=2),
    meta=st.dictionaries(st.sampled_from(["nick", "a b", "z"]), _words),
    hi=_words,
    ascii_only=st.booleans(),
)
def test_no_data_breaks_out_of_its_text(
    tree: Any,
    ids: list[str],
    users: list[str],
    meta: dict[str, str],
    hi: str,
    ascii_only: bool,
) -> None:
    """Parsed again, a body has the caller's shape and exactly the device's words."""
    message = json.dumps(_write(tree), ensure_ascii=ascii_only).encode()
    templating = Templating({"en": {"hi": hi}}, use_meta=True)
    renderer = BodyRenderer(Body(message), templating)
    work = Send(
        TargetKind.TOKEN,
        Recipients(
            ("t", "u"),
            tuple(ids),
            ("web", "web"),
            users=tuple(users),
            locales=("en", "de"),
            metas=(json.dumps(meta), "{}"),
        ),
    )
    for index, device in enumerate(
        (
            DeviceFields(ids[0], users[0], meta, {"hi": hi}),
            DeviceFields(ids[1], users[1], {}, {}),
        )
    ):
        rendered = json.loads(renderer.render(work.recipients[index]).message)
        assert rendered == _expect(tree, device)


_SCRAPS = (
    '{{ }} {{-_ _-}} [[ ]] " ` ( ) | _ . if_ else_ end range_ default_ index_ eq_'
    " .device.id .l10n.a .device.meta.b /* */ $x 7 ü \t - x"
)
_scraps = st.sampled_from([scrap.replace("_", " ") for scrap in _SCRAPS.split(" ")])


@given(text=st.lists(_scraps, max_size=25).map("".join))
def test_every_text_is_a_template_or_a_fault(text: str) -> None:
    """Reading never crashes, and what was read can be rendered for any device."""
    fault = template = None
    try:
        template = parse_template(text, Scope(meta=True, l10n=True))
    except TemplateFault as found:
        fault = found
    if template is None:
        assert fault is not None
        assert 1 <= fault.column <= len(text) + 1
        assert fault.reason
        return
    for device in (DeviceFields("i"), DeviceFields("i", "u", {"b": "c"}, {"a": "d"})):
        assert isinstance(template.render(device), str)
