"""What `tocsin queue` prints of dead letters, and how it reads what is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.admin import ACTOR, bury, make_letters
from tests.support.jobs import ManualClock, make_payload, make_send_job, make_walk_job
from tests.support.memory_queue import MemoryJobQueue

from tocsin.cli import letters
from tocsin.cli.main import build_parser
from tocsin.core.dead_letters import LetterFilter
from tocsin.core.push import Body, Job

AT_MS = 1_800_000_000_000


def _queue(*letters: tuple[Job, str], uids: Sequence[str] = ()) -> MemoryJobQueue:
    """A queue with these letters, the first ones with the payload of that uid."""
    queue = MemoryJobQueue(ManualClock(AT_MS))
    for number, (job, reason) in enumerate(letters):
        if uid := uids[number] if number < len(uids) else "":
            queue.payloads[job.push_id] = replace(make_payload(job.push_id), uid=uid)
        queue.data.bury(job, reason, AT_MS)
        queue.payloads.clear()
    return queue


def _order(*line: str, enabled: tuple[str, ...] = ("fcm",)) -> letters.LetterOrder:
    args = build_parser("queue").parse_args(["queue", *line])
    assert letters.find_misuse(args) == ""
    return letters.read_order(args, enabled)


async def _act(queue: MemoryJobQueue, *line: str) -> int:
    return await letters.act(make_letters(queue), _order(*line), actor=ACTOR)


async def _print(
    queue: MemoryJobQueue, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    assert await _act(queue, "dead") == 0
    return capsys.readouterr().out.splitlines()


async def test_a_letter_names_its_send(capsys: pytest.CaptureFixture[str]) -> None:
    """By uid and push id, with provider, attempt and reason."""
    letter = (make_send_job(2, attempt=3), "invalid_argument: no map")
    first, last = await _print(_queue(letter, uids=["u1"]), capsys)
    assert first == (
        "1  2027-01-15T08:00:00+00:00  uid u1  push p1  send:fcm  provider fcm"
        "  attempt 3  2 recipients  invalid_argument: no map"
    )
    assert last == "1 dead letters"
    assert "token-" not in first


async def test_a_letter_of_a_walk(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody knows its recipients; its integration is named where it has one."""
    job = make_walk_job(integration="shop")
    first, _ = await _print(_queue((job, "no_integration: shop")), capsys)
    assert "expand:fcm  provider fcm  integration shop  attempt 0  a filter  " in first


async def test_a_letter_without_its_payload(capsys: pytest.CaptureFixture[str]) -> None:
    """It is listed like any other."""
    first, _ = await _print(_queue((make_send_job(1), "gone")), capsys)
    assert "  uid unknown  push p1  " in first


async def test_a_uid_stays_in_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Callers choose it, and a terminal obeys control characters."""
    queue = _queue((make_send_job(1), "gone"), uids=["a\n\x1b[2Jb"])
    lines = await _print(queue, capsys)
    assert len(lines) == 2
    assert r"uid 'a\n\x1b[2Jb'  push p1" in lines[0]


async def test_every_page_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each letter with its own send."""
    count = 2 * letters.PAGE + 1
    uids = ["first", *[""] * (count - 2), "last"]
    queue = _queue(*[(make_send_job(1), "gone")] * count, uids=uids)
    lines = await _print(queue, capsys)
    assert len(lines) == count + 1
    told = [number for number, line in enumerate(lines, 1) if "unknown" not in line]
    assert told == [1, count, count + 1]


async def test_known_dead_letters_are_not_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are counted; only the others stand in the complaint, each once."""
    queue = _queue(*[(make_send_job(1), "gone")] * 3)
    assert await queue.purge_dead(["2"]) == 1
    assert await _act(queue, "purge", "1", "2", "3", "1", "2") == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "purge: 2 dead letters"
    assert told.err == "no such dead letters: 2\n"


async def test_letters_are_chosen_by_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same ones for a list, a count and a change."""
    queue = _queue(
        (make_send_job(2), "internal"),
        (make_send_job(1, provider="apns"), "internal"),
        (make_send_job(1), "invalid_argument: a"),
    )
    chosen = ("--provider", "fcm", "--reason", "internal", "--since", "2020-01-01")
    assert await _act(queue, "dead", *chosen) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 dead letters"
    assert await _act(queue, "reasons", *chosen) == 0
    group, last = capsys.readouterr().out.splitlines()
    at = "2027-01-15T08:00:00+00:00"
    assert " ".join(group.split()) == (
        f"1 letters 2 recipients since {at} last {at} provider fcm integration fcm"
        " internal (such as 1)"
    )
    assert last == "1 dead letters"
    assert await _act(queue, "replay", *chosen) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "replay: 1 dead letters"
    assert list(queue.data.letters) == [2, 3]


def test_every_option_is_a_part_of_the_filter() -> None:
    """Several of one name are alternatives."""
    order = _order(
        *("dead", "--reason", "a", "--reason", "b", "--provider", "fcm"),
        *("--integration", "i", "--push-id", "p", "--uid", "u"),
        *("--since", "2026-11-28T06:00:00Z", "--until", "2026-11-28T07:00:00Z"),
    )
    assert order.choice.filter == LetterFilter(
        reasons=("a", "b"),
        providers=("fcm",),
        integrations=("i",),
        push_ids=("p",),
        uids=("u",),
        since_ms=1_795_845_600_000,
        until_ms=1_795_849_200_000,
    )


async def test_a_look_at_one_letter(capsys: pytest.CaptureFixture[str]) -> None:
    """Devices with masked tokens; what was sent only where it is asked for."""
    queue = MemoryJobQueue(ManualClock(AT_MS))
    bury(queue, "internal", make_send_job(25))
    assert await _act(queue, "show", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "device device-0  … (7 characters, sha256 " in lines[5]
    assert lines[-1] == "to         5 others"
    assert not any("token-" in line for line in lines)
    assert await _act(queue, "show", "1", "--body") == 0
    assert capsys.readouterr().out.splitlines()[-1] == '{"data":{}}'
    bury(queue, "internal", make_walk_job())
    assert await _act(queue, "show", "2") == 0
    assert "walk       page 0, after device -" in capsys.readouterr().out
    assert await _act(queue, "show", "7") == 1
    assert "no dead letter has it: '7'" in capsys.readouterr().err


async def test_letters_are_mended_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For the only provider there is, or the one that is named."""
    queue = MemoryJobQueue(ManualClock(AT_MS))
    file = tmp_path / "body.json"
    file.write_bytes(b'\n{"data":{"a":"1"}}\n')
    bury(queue, "invalid_argument")
    line = ("replay", "--all", "--with-body", str(file), "--header", "a=b=c")
    assert await _act(queue, *line) == 0
    (job,) = queue.jobs
    assert job.body == Body(b'{"data":{"a":"1"}}', {"a": "b=c"})
    order = _order("replay", "1", "--provider", "fcm", *line[2:4], enabled=("a", "fcm"))
    assert order.mend is not None
    assert (order.mend.provider, order.choice.ids) == ("fcm", ("1",))
    file.write_text("no JSON")
    bury(queue, "invalid_argument")
    assert await _act(queue, *line) == 1
    assert "body.message: must be a JSON object" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("--all", "--with-body", "/nowhere"), "--with-body: /nowhere: No such file"),
        (("--all", "--with-body", "/dev/null"), "--provider apns or fcm"),
        (
            ("--all", "--with-body", "/dev/null", "--header", "x"),
            "--header: must be NAME=VALUE",
        ),
        (("--since", "yesterday"), "--since: must be a time such as"),
    ],
)
def test_what_cannot_be_read_is_said(line: Sequence[str], words: str) -> None:
    """With the option; nothing is opened for it."""
    provider = [] if "--provider" in words else ["--provider", "fcm"]
    with pytest.raises(ValueError, match=words):
        _order("replay", *line, *provider, enabled=("apns", "fcm"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("show", "queue show: name one dead letter"),
        ("show 1 2", "queue show: name one dead letter"),
        ("dead --body", "queue dead takes no --body"),
        ("purge 1 --with-body x", "queue purge takes no --with-body"),
        ("replay 1 --header a=b", "--header goes with --with-body"),
        ("replay 1 --uid u", "takes dead letters, options that choose them, or"),
        ("purge --all --provider fcm", "takes dead letters, options that choose them"),
        ("replay 1 --uid u --with-body x", "takes dead letters, options that choose"),
        ("status --uid u", "queue status takes no options that choose"),
        ("drain --since 1h", "queue drain takes no options that choose"),
    ],
)
def test_a_line_that_says_too_much_is_refused(line: str, words: str) -> None:
    """What it would mean would be a guess."""
    args = build_parser("queue").parse_args(["queue", *line.split()])
    assert words in letters.find_misuse(args)
