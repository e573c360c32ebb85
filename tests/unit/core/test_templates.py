from __future__ import annotations

import pytest

from tocsin.core.device import Detail
from tocsin.core.template_values import DeviceFields
from tocsin.core.templates import MAX_DEPTH, Scope, TemplateFault, parse_template

DEVICE = DeviceFields(
    id="d1",
    user="bob",
    meta={"nick": 'A"\n{{x}}', "first-name": "Ann", "empty": ""},
    l10n={"hi": "Hola"},
)
ALL = Scope(meta=True, l10n=True)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain }} text", "plain }} text"),
        ("{{.device.id}}", "d1"),
        ("a {{ .device.user }} b", "a bob b"),
        ("{{.device.meta.nick}}", 'A"\n{{x}}'),
        ("{{.device.meta.absent}}", ""),
        ("{{.l10n.hi}} {{.l10n.absent}}!", "Hola !"),
        ("{{default [[Hi]] .l10n.absent}}", "Hi"),
        ("{{default [[Hi]] .l10n.hi}}", "Hola"),
        ("{{default [[none]] .device.meta.empty}}", "none"),
        ("{{.l10n.absent | default [[Hi]]}}", "Hi"),
        ("{{default [[a]] (default [[b]] .l10n.absent)}}", "b"),
        ("{{(.device.id)}}", "d1"),
        ("{{index .device.meta [[first-name]]}}", "Ann"),
        ("{{index .l10n .device.user}}", ""),
        ("{{[[ }} ]]}}", " }} "),
        ('{{"a\\tb\\"c"}}', 'a\tb"c'),
        ("{{`raw\\n`}}", "raw\\n"),
        ("x {{- .device.id -}} y", "xd1y"),
        ("x {{- .device.id }} y", "xd1 y"),
        ("x\n\t{{.device.id -}}\n y", "x\n\td1y"),
        ("a{{/* said \n nothing */}}b", "ab"),
        ("a {{- /* trimmed */ -}} b", "ab"),
        ("{{if .l10n.hi}}yes{{end}}", "yes"),
        ("{{if .l10n.absent}}yes{{else}}no{{end}}", "no"),
        ("{{if eq .device.user [[al]] [[bob]]}}B{{end}}", "B"),
        ("{{if ne .device.user [[bob]]}}x{{else if .l10n.hi}}y{{else}}z{{end}}", "y"),
        ("{{if not .device.meta}}x{{else}}has{{end}}", "has"),
        ("{{if and .device.id .l10n.absent}}x{{else}}y{{end}}", "y"),
        ("{{or .l10n.absent .device.user [[z]]}}", "bob"),
        ("{{and .device.id .device.user}}", "bob"),
        ("{{eq .device.id [[d1]]}}", "true"),
        ("{{not .device.id}}", "false"),
        ("{{if .device.id}}{{if .device.user}}in{{end}}{{end}}out", "inout"),
        ("{{\n  .device.id\n}}", "d1"),
        ("", ""),
    ],
)
def test_rendering(template: str, expected: str) -> None:
    """What each form yields for one device; what is missing is empty text."""
    assert parse_template(template, ALL).render(DEVICE) == expected


@pytest.mark.parametrize(
    ("template", "column", "reason"),
    [
        ("ab {{", 4, "the braces are not closed"),
        ("{{.device.id", 1, "the braces are not closed"),
        ("{{}}", 1, "the braces are empty"),
        ("{{ .x }}", 4, "unknown variable .x"),
        ("{{.}}", 3, "unknown variable ."),
        ("{{.device}}", 3, "unknown variable .device"),
        ("{{.device.token}}", 3, "unknown variable .device.token"),
        ("{{.device.meta.a.b}}", 3, "unknown variable .device.meta.a.b"),
        ("{{.device.meta}}", 3, "is a whole map"),
        ("{{.l10n}}", 3, "is a whole map"),
        ("{{.device.meta.a-b}}", 17, "index .device.meta [[key]]"),
        ("{{shout .device.id}}", 3, "unknown function 'shout'; known: and, default"),
        ("{{default [[a]]}}", 3, "default takes 2 texts"),
        ("{{default [[a]] .device.meta}}", 3, "default takes 2 texts"),
        ("{{index .device.id [[a]]}}", 3, "index takes a map and a text"),
        ("{{not}}", 3, "not takes 1 value"),
        ("{{and .device.id .device.meta}}", 3, "and takes values of one kind"),
        ("{{default default [[x]]}}", 11, "put a call into parentheses"),
        ("{{.device.id .device.user}}", 3, "is no function"),
        ("{{.device.id | .device.user}}", 16, "is no function"),
        ("{{.device.id |}}", 15, "a value is missing"),
        ("{{| .device.id}}", 3, "unexpected '|'"),
        ("{{(.device.id}}", 3, "the parenthesis is not closed"),
        ("{{(.device.id))}}", 3, "is no function"),
        ("{{[[open}}", 3, "the text is not closed"),
        ('{{"open}}', 3, "the text is not closed"),
        ('{{"\\x"}}', 3, "unknown escape"),
        ("{{5}}", 3, "numbers are not supported"),
        ("{{$x := .device.id}}", 3, "own variables are not supported"),
        ("{{range .device.meta}}", 3, "range is not supported"),
        ("{{with .device}}{{end}}", 3, "with is not supported"),
        ("{{template [[x]]}}", 3, "template is not supported"),
        ("{{if .device.id}}x", 1, "if without an end"),
        ("{{if}}x{{end}}", 1, "if needs a condition"),
        ("{{end}}", 1, "end without an if"),
        ("x{{else}}", 2, "else without an if"),
        ("{{if .device.id}}{{else}}{{else}}{{end}}", 26, "a second else"),
        ("{{if .device.id}}{{end .device.id}}", 24, "unexpected '.device.id'"),
        ("{{/* open }}", 3, "unexpected '/'"),
        ("ünï {{.x}}", 7, "unknown variable .x"),
    ],
)
def test_faults_say_where_and_why(template: str, column: int, reason: str) -> None:
    """Each fault has the column of its first character, counted in characters."""
    with pytest.raises(TemplateFault) as caught:
        parse_template(template, ALL)
    assert reason in caught.value.reason
    assert caught.value.column == column


def test_variables_need_what_they_are_read_from() -> None:
    """The device's meta and localized texts are there only where asked for."""
    for scope, text, needed in (
        (Scope(l10n=True), "{{.device.meta.a}}", "use_meta"),
        (Scope(meta=True), "{{.l10n.a}}", "localizations"),
    ):
        with pytest.raises(TemplateFault, match=needed):
            parse_template(text, scope)


def test_a_template_knows_what_it_reads() -> None:
    """Only those columns have to be carried along with each recipient."""
    uses = {
        "{{.device.id}}": set(),
        "{{.device.user}}": {Detail.USER},
        "{{if .device.meta.a}}{{.l10n.b}}{{end}}": {Detail.META, Detail.LOCALE},
    }
    for text, expected in uses.items():
        assert parse_template(text, ALL).uses == expected


@pytest.mark.parametrize(
    "deep",
    [
        "{{if .device.id}}" * 5000 + "{{end}}" * 5000,
        "{{if .l10n.a}}" + "{{else if .l10n.b}}" * 5000 + "{{end}}",
        "{{" + "(" * 5000 + ".device.id" + ")" * 5000 + "}}",
    ],
)
def test_hostile_nesting_is_refused(deep: str) -> None:
    """However deep a caller nests, the answer is a fault and no crash."""
    with pytest.raises(TemplateFault, match=f"nested more than {MAX_DEPTH} deep"):
        parse_template(deep, ALL)
