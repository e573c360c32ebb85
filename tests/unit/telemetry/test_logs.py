import ast
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

import tocsin
from tocsin.telemetry.logs import configure_logging, hide, scrub


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the process's logging as it was found."""
    config = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**config)
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fail(text: str) -> None:
    raise ValueError(text)


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_with_time_level_name_and_context() -> None:
    """What was bound at a border stands in each line below it."""
    stream = io.StringIO()
    configure_logging(stream=stream)
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger("tocsin.x").info("device removed", device_id="d1")
    (line,) = read(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "tocsin.x",
        "event": "device removed",
        "request_id": "r1",
        "device_id": "d1",
    }


def test_a_terminal_gets_the_form_for_people() -> None:
    """Colours appear on a terminal only, and nobody has to ask."""
    stream = Terminal()
    configure_logging(stream=stream)
    structlog.get_logger("tocsin.x").info("hello", device_id="d1")
    assert "\x1b[" in stream.getvalue()
    assert "hello" in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("debug", ["debug", "info", "warning", "error", "critical"]),
        ("info", ["info", "warning", "error", "critical"]),
        ("warning", ["warning", "error", "critical"]),
        ("error", ["error", "critical"]),
        ("none", []),
    ],
)
def test_the_level_cuts_what_is_below(level: str, seen: list[str]) -> None:
    """Each value of `log.level` does what it says."""
    stream = io.StringIO()
    configure_logging(level, stream=stream)
    log = structlog.get_logger("tocsin.x")
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(log, name)(name)
    assert [line["event"] for line in read(stream)] == seen


def test_the_level_reaches_loggers_made_before() -> None:
    """A module's logger follows the set-up that comes after its import."""
    log = structlog.get_logger("tocsin.x")
    streams = {"error": io.StringIO(), "info": io.StringIO()}
    for level, stream in streams.items():
        configure_logging(level, stream=stream)
        log.info("hello")
    assert [len(read(stream)) for stream in streams.values()] == [0, 1]


def test_secret_names_are_masked_at_any_depth() -> None:
    """Tokens, keys and payloads are masked; counts and plain words stay."""
    stream = io.StringIO()
    configure_logging(stream=stream)
    structlog.get_logger("tocsin.x").info(
        "sent",
        token="hunter2",
        device_tokens=["hunter2"],
        apiKey="hunter2",
        dsn="hunter2",
        authorization="hunter2",
        payload=b"hunter2",
        headers={"Authorization": "hunter2", "accept": "json"},
        items=[{"secret": "hunter2"}],
        raw=b"hunter2",
        tokens=500,
        key=None,
        monkey="fine",
        token_uri="https://host/token",
    )
    assert "hunter2" not in stream.getvalue()
    (line,) = read(stream)
    assert line["tokens"] == 500
    assert line["monkey"] == "fine"
    assert line["token_uri"] == "https://host/token"
    assert line["headers"] == {"Authorization": "***", "accept": "json"}
    assert line["raw"] == "<7 bytes>"


def test_secrets_quoted_in_texts_are_masked() -> None:
    """Errors of libraries quote URLs and headers; their passwords go."""
    stream = io.StringIO()
    configure_logging(stream=stream)
    log = structlog.get_logger("tocsin.x")
    try:
        fail("cannot reach postgresql://u:hunter2@h/x")
    except ValueError as error:
        log.exception("failed with Bearer hunter2", error=error)
    assert "hunter2" not in stream.getvalue()
    (line,) = read(stream)
    assert "Traceback" in line["exception"]
    assert line["error"] == "ValueError: cannot reach postgresql://u:***@h/x"


def test_a_traceback_on_a_terminal_shows_no_local_variables() -> None:
    """Local variables hold tokens; only the lines of code are shown."""
    stream = Terminal()
    configure_logging(stream=stream)
    token = "hunter" + "2"
    try:
        fail(str(len(token)))
    except ValueError:
        structlog.get_logger("tocsin.x").exception("failed")
    assert "ValueError: 7" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_libraries_are_heard_from_warning_up_in_the_same_form() -> None:
    """Their debug lines quote headers and SQL parameters, whatever our level is."""
    stream = io.StringIO()
    configure_logging("debug", stream=stream)
    logging.getLogger("some.library").info("quiet")
    logging.getLogger("some.library").warning("a %s key: apikey hunter2", "bad")
    (line,) = read(stream)
    assert line["logger"] == "some.library"
    assert line["level"] == "warning"
    assert line["event"] == "a bad key: apikey ***"


def test_a_second_set_up_replaces_the_first() -> None:
    """No line is written twice after a new set-up."""
    first, second = io.StringIO(), io.StringIO()
    configure_logging(stream=first)
    configure_logging(stream=second)
    logging.getLogger("some.library").warning("once")
    assert first.getvalue() == ""
    assert len(read(second)) == 1


class Broken:
    def __str__(self) -> str:
        return "half \ud800"


def test_a_line_never_raises() -> None:
    """Broken text and foreign objects end in some line, not in an exception."""
    stream = io.StringIO()
    configure_logging(stream=stream)
    log = structlog.get_logger("tocsin.x")
    log.info("half a pair \ud800", thing=object(), other={1: {2, 3}})
    log.info("object", thing=Broken())
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    configure_logging(stream=narrow, colours=True)
    log.info("é \ud800")
    assert len(read(stream)) == 2


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("redis://:p@h:1", "redis://:***@h:1"),
        ("authorization: apikey K", "authorization: apikey ***"),
        ("Authorization: Bearer abc.def, x", "Authorization: Bearer ***, x"),
        ("host=h password=p user=u", "host=h password= *** user=u"),
        ("https://fcm.googleapis.com/v1", "https://fcm.googleapis.com/v1"),
        ("nothing here", "nothing here"),
    ],
)
def test_texts_are_scrubbed(text: str, clean: str) -> None:
    """Passwords in URLs and values after an authorization scheme go."""
    assert scrub(text) == clean


@pytest.mark.parametrize("sign", "#/?@%")
def test_a_password_with_any_sign_is_masked(sign: str) -> None:
    """Up to the last @ of an address that a foreign text quotes."""
    shown = scrub(f"cannot reach redis://u:hun{sign}ter2@h:1, sorry")
    assert shown == "cannot reach redis://u:***@h:1, sorry"


def test_pem_in_a_foreign_text_is_cut() -> None:
    """With and without its end."""
    pem = "-----BEGIN PRIVATE KEY-----\nMIGTAgEA\n-----END PRIVATE KEY-----"
    assert "MIGT" not in scrub(f"cannot open '{pem}': too long")
    assert scrub(f"cannot open '{pem}': too long").endswith("': too long")
    assert "MIGT" not in scrub(pem[:-5])


def test_configured_secrets_are_hidden_wherever_they_are_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In words, in values and in tracebacks; a short one would be in ordinary words."""
    monkeypatch.setattr("tocsin.telemetry.logs._hidden", set())
    hide(["hunter2secret", "key", ""])
    stream = io.StringIO()
    configure_logging(stream=stream)
    log = structlog.get_logger("tocsin.x")
    log.warning("the server said hunter2secret", answer=["a hunter2secret", "a key"])
    try:
        fail("no such file: 'hunter2secret'")
    except ValueError:
        log.exception("stopped")
    assert "hunter2" not in stream.getvalue()
    first, second = read(stream)
    assert first["answer"] == ["a ***", "a key"]
    assert "Traceback" in second["exception"]


CALLERS = "a\nb\r\x1b[31m\x00\x85\u2028\u202e\ud800"


@pytest.mark.parametrize("colours", [False, True])
def test_what_callers_choose_begins_no_line_and_moves_no_cursor(colours: bool) -> None:
    """Whatever stands in a value, in a list, in a mapping or in an error."""
    stream = io.StringIO()
    configure_logging(stream=stream, colours=colours)
    log = structlog.get_logger("tocsin.x")
    log.info("said %s", CALLERS, path=CALLERS, ids=[CALLERS], more={CALLERS: CALLERS})
    log.info("failed", error=ValueError(CALLERS))
    # Without the half character: pytest keeps this record, and passes it on as UTF-8.
    logging.getLogger("lib").warning("said %s", CALLERS[:-1])
    text = stream.getvalue()
    if colours:
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert text.count("\n") == 3
    assert all(line.isprintable() for line in text.splitlines())
    assert "\\x1b[31m" in text.replace("\\\\", "\\")


@pytest.mark.parametrize("colours", [False, True])
def test_a_traceback_keeps_its_lines_and_escapes_what_it_quotes(colours: bool) -> None:
    """It may quote what a caller sent."""
    stream = io.StringIO()
    configure_logging(stream=stream, colours=colours)
    try:
        fail("\x1b[31m" + "x" * 100_000)
    except ValueError:
        structlog.get_logger("tocsin.x").exception("failed")
    text = stream.getvalue()
    assert "Traceback" in text
    assert "\\x1b[31m" in text.replace("\\\\", "\\")
    assert "\x1b[31mxx" not in text
    assert len(text) < 25_000


def test_no_value_makes_a_line_of_any_length() -> None:
    """Long texts and lists are cut, and say how long they were."""
    stream = io.StringIO()
    configure_logging(stream=stream)
    structlog.get_logger("tocsin.x").info(
        "e" * 5000,
        uid="u" * 100_000,
        ids=["i" * 5000] * 5000,
        more={str(number): "v" for number in range(5000)},
        error=ValueError("x" * 100_000),
    )
    (line,) = read(stream)
    assert line["uid"] == "u" * 1000 + "… (100000 characters)"
    assert line["event"].startswith("e" * 1000 + "…")
    assert line["ids"][-1] == "… and 4900 more"
    assert line["more"]["…"] == "and 4900 more"
    assert len(line["error"]) < 1100


def test_a_password_is_masked_before_a_text_is_cut() -> None:
    """Half of one would not be known as one."""
    stream = io.StringIO()
    configure_logging(stream=stream)
    url = "x" * 980 + " postgresql://u:" + "hunter2" * 10 + "@h/db"
    structlog.get_logger("tocsin.x").info("failed", reason=url)
    assert "hunter2" not in stream.getvalue()


class Unread(io.StringIO):
    """What nobody reads any more."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_log_that_cannot_be_written_raises_nothing() -> None:
    """The work goes on without its lines."""
    configure_logging(stream=Unread())
    structlog.get_logger("tocsin.x").error("failed")


def test_a_level_of_a_room_shows_its_lines_and_hides_no_others() -> None:
    """A room may tell more than the others, or nothing; modules stand in rooms."""
    stream = io.StringIO()
    rooms = {"sessions": "debug", "hub": "none", "queue": "error"}
    levels = ("debug", "info", "warning", "error")
    configure_logging("info", rooms=rooms, stream=stream)
    for name in ("sessions", "sessions.session", "hub.hub", "queue.sql", "app.server"):
        log = structlog.get_logger(f"tocsin.{name}")
        for level in levels:
            getattr(log.bind(client="c1"), level)(f"{name} {level}")
    assert [line["event"] for line in read(stream)] == [
        *(f"sessions {level}" for level in ("debug", "info", "warning", "error")),
        *(
            f"sessions.session {level}"
            for level in ("debug", "info", "warning", "error")
        ),
        "queue.sql error",
        *(f"app.server {level}" for level in ("info", "warning", "error")),
    ]


def test_a_room_is_heard_where_all_others_are_silent() -> None:
    """`log.level: none` holds for who has no level of its own."""
    stream = io.StringIO()
    configure_logging("none", rooms={"delivery": "info"}, stream=stream)
    structlog.get_logger("tocsin.delivery.worker").info("heard")
    structlog.get_logger("tocsin.app").critical("not heard")
    assert [line["event"] for line in read(stream)] == ["heard"]


SOURCES = Path(tocsin.__file__).parent


def _loggers(path: Path) -> Iterator[str]:
    """How each logger of a module is asked for."""
    makers = ("get_logger", "getLogger")
    text = path.read_text()
    if not any(maker in text for maker in makers):
        return  # reading them all as syntax takes seconds
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in makers
        ):
            yield ast.unparse(node)


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(SOURCES.rglob("*.py"))
        if "get" in path.read_text() and path != SOURCES / "telemetry/logs.py"
    ],
    ids=lambda path: str(path.relative_to(SOURCES)),
)
def test_every_logger_is_structlogs_and_named_after_its_module(path: Path) -> None:
    """Only so the level of a room reaches all of its lines."""
    # Alembic runs these under names of its own.
    is_script = path.parent.name == "versions"
    named = "'tocsin.storage.migrations'" if is_script else "__name__"
    assert set(_loggers(path)) <= {f"structlog.get_logger({named})"}
