"""The command line: options anywhere, nothing twice, faults in one line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tocsin.cli.main import VERBS, build_parser, main
from tocsin.cli.queue import ACTIONS

CONFIG = ("--config", "c.json")


@pytest.mark.parametrize(
    "line",
    [
        "queue replay --config c.json 1 2",
        "queue --config c.json replay 1 2",
        "queue replay 1 --config c.json 2",
        "queue replay 1 2 --config=c.json",
        "queue -c c.json replay 1 2",
        "queue replay -cc.json 1 2",
        "queue replay 1 --conf c.json 2",
        "queue replay --config c.json -- 1 2",
        "queue --config c.json -- replay 1 2",
    ],
)
def test_options_stand_anywhere(line: str) -> None:
    """Before, between and after the action and what it is about."""
    parsed = build_parser().parse_args(line.split())
    assert (parsed.action, parsed.ids) == ("replay", ["1", "2"])
    assert parsed.config == "c.json"


@pytest.mark.parametrize("line", ["funnel {} -c c.json", "funnel -c c.json {}"])
@pytest.mark.parametrize("uid", ["-5", "-", "-5-goals"])
def test_a_number_below_zero_is_no_option(line: str, uid: str) -> None:
    """As a uid it may be one."""
    assert build_parser().parse_args(line.format(uid).split()).uid == uid


def test_after_two_dashes_nothing_is_an_option() -> None:
    """So any uid can be asked for."""
    parsed = build_parser().parse_args(["funnel", *CONFIG, "--", "--json"])
    assert (parsed.uid, parsed.json) == ("--json", False)


def test_a_value_may_begin_with_a_dash() -> None:
    """Where it is a number, and where it is joined."""
    for line in (["--ttl", "-1"], ["-t", "-1"], ["-t-1"], ["--ttl=-1"]):
        assert build_parser().parse_args(["gen-token", *line]).ttl == -1
    parsed = build_parser().parse_args(["gen-token", "--user=-x"])
    assert parsed.user == "-x"


WRONG = {
    "": "name what to do: serve,",
    "serv": "did you mean serve?",
    "--config c.json serve": "tocsin VERB --config",
    "\x1b[31m": r"'\x1b[31…' is no verb",
    "\udcff": "is no UTF-8 text",
    "queue": "name what to do: status, dead, reasons, show, replay, purge, drain",
    "queue --config c.json": "name what to do",
    "queue replya 1": "did you mean replay?",
    "queue replay --all=1": "--all",
    "queue replay": "queue replay: name the dead letters, or pass --all",
    "queue purge --config c.json": "queue purge: name the dead letters",
    "queue replay 1 --all": "not both",
    "queue status \x1b[1m": r"'\x1b[1m': only replay",
    "queue drain 1": "queue drain takes no '1'",
    "queue status 1": "status takes no '1'",
    "queue dead --all": "dead takes no '--all'",
    "queue dead --to x": "dead takes no --to",
    "queue drain --config c.json": "--to FILE",
    "queue drain --to": "--to takes a value",
    "queue dead --config": "--config takes a value",
    "queue --config dead --config": "--config is given twice",
    "queue dead -c a --config b": "--config is given twice",
    "queue dead --conf a --config b": "--config is given twice",
    "queue dead --config=": "names no file",
    "queue dead --confg a": "did you mean --config?",
    "queue replay --replay 1": "--replay is no option",
    "serve --config c.json now": "takes no 'now'",
    "serve --set a": "--set takes KEY=VALUE",
    "serve --set =a": "--set takes KEY=VALUE",
    "serve --set log.level=a --set log.level=b": "log.level is set twice",
    "serve --set log.level=a --log.level b": "log.level is set twice",
    "serve --log.level a --log.level b": "log.level is set twice",
    "gen-token --user a --user b": "--user is given twice",
    "gen-token --ttl 1h --ttl 2h": "--ttl is given twice",
    "gen-token --ttl soon": "must be a duration",
    "gen-token --ttl": "--ttl takes a value",
    "gen-sub-token --user a": "-s/--channel",
    "gen-sub-token --channel a -s b": "--channel is given twice",
    "check-token": "TOKEN",
    "check-token a b": "takes no 'b'",
    "funnel": "uid",
    "funnel -x": "-x is no option",
    "demo x": "takes no 'x'",
    "demo --devices a --devices b": "--devices is given twice",
    "simulate --port abc": "is no port",
    "simulate --port 65536": "is no port",
    "simulate --port -5": "is no port",
    "simulate --apns-port 70000": "is no port",
    "simulate --dir a --dir b": "--dir is given twice",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_line_is_told_in_one(
    line: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On standard error, with exit code 2, before anything is read or made."""
    monkeypatch.chdir(tmp_path)
    try:
        code: object = main(line.split())
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert said.err.startswith("tocsin")
    assert said.err.rstrip("\n").isprintable()
    assert WRONG[line] in said.err
    assert list(tmp_path.iterdir()) == []


SECRET = "Tr0ub4dorSup3rS3cr3tV4lue99"


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "--{} serve",
        "serve {}",
        "serve --{}",
        "serve --{}=1",
        "serve --set {}=1",
        "serve --set {0}=1 --set {0}=2",
        "serve --http_server.port {}",
        "queue {}",
        "queue status {}",
        "queue status --{}",
        "devices {}",
        "devices removed --since {}",
        "gen-token --ttl {}",
        "simulate --port {}",
    ],
)
@pytest.mark.parametrize("secret", [SECRET, "hunter2"])
def test_a_secret_in_a_wrong_place_is_not_repeated(
    line: str, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was pasted there by mistake ends in the log of a pipeline."""
    if secret != SECRET and ("--{" in line or "--set" in line):
        pytest.skip("a name, for all that can be seen")
    with suppress(SystemExit):
        assert main(line.format(secret).split()) == 2
    said = capsys.readouterr()
    assert secret[:2] in said.err or "--since" in line
    assert secret[:6] not in said.err + said.out


@pytest.mark.parametrize(
    "line",
    [
        *([verb] for verb in VERBS),
        *(["queue", action] for action in ACTIONS),
        [],
    ],
)
def test_help_is_there_on_every_level(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever else stands in the line or is missing."""
    with pytest.raises(SystemExit) as ended:
        main([*line, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: tocsin")
