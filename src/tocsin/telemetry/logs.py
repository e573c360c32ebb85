"""Sets up structlog for a process: JSON, or colours on a terminal. Part of `telemetry`.

It must let no token, key or payload through, and must not decide what is worth a line.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from itertools import islice
from types import MappingProxyType
from typing import Any, TextIO, cast

import orjson
import structlog
from structlog.typing import (
    EventDict,
    FilteringBoundLogger,
    Processor,
    WrappedLogger,
)

MASK = "***"
_SECRET_WORDS = frozenset(
    {
        *("token", "tokens", "key", "keys", "apikey", "secret", "secrets", "pem"),
        *("authorization", "password", "passwd", "credential", "credentials"),
        *("payload", "payloads", "body", "bodies", "dsn"),
    }
)
_PLAIN_NAMES = frozenset({"token_uri"})
"""Names with a secret word in them whose values are public."""
_FIRST = ("timestamp", "level", "logger", "event")
_WORDS = re.compile(r"[a-z0-9]+")
_WORDS_LIMIT = 300
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# Texts of foreign errors may quote what they failed on. A URL's password reaches to the
# last @ before a blank or a quote, since it may hold anything unescaped.
_URL_PASSWORD = re.compile(r"(?<=://)([^/?#\s:@]*):[^\s\"'<>]*@")
_PEM = re.compile(r"-----BEGIN .*?(?:-----END [^-]*-----|\Z)", re.DOTALL)
_CREDENTIAL = re.compile(
    r"\b(apikey|bearer|basic|vapid|password\s*=)\s*[^\s,;'\"]+", re.IGNORECASE
)
# Characters of a secret from which on it is searched for in texts.
_SHORTEST_HIDDEN = 8
_hidden: set[str] = set()
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "none": logging.CRITICAL,
}


MOST_CHARACTERS = 1_000
"""Longest value in a line: callers choose the text of some values."""
MOST_TRACE = 20_000
"""Longest traceback, which may quote what a caller sent."""
MOST_ITEMS = 100
"""Most items of a list or a mapping in a line."""
_LONG_NAMES = frozenset({"exception", "stack"})
"""Texts of several lines; their line breaks stay."""


def configure_logging(
    level: str = "info",
    *,
    rooms: Mapping[str, str] = MappingProxyType({}),
    stream: TextIO | None = None,
    colours: bool | None = None,
) -> None:
    """Make structlog and the standard logging write to `stream` (standard output).

    `level` is a value of `log.level`; `rooms` are the levels of single rooms, which
    are the packages of Tocsin: a module's logger is named after it. `colours` chooses
    the form for people instead of JSON; unset, a terminal decides. Libraries are
    heard from warning up, whatever the level: their debug lines quote headers and
    parameters.
    """
    stream = stream if stream is not None else sys.stdout
    if colours is None:
        colours = stream.isatty()
    threshold = _LEVELS[level]
    silent = level == "none"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not colours:
        shared.append(structlog.processors.format_exc_info)
    shared.append(redact)
    renderer = _console() if colours else _json()
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=_by_room(level, rooms),
        logger_factory=_LineLoggerFactory(stream),
        # Uncached, so that a later call of this function reaches every module.
        cache_logger_on_first_use=False,
    )
    _route_libraries(
        stream,
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                renderer,
            ],
        ),
        level=threshold + 1 if silent else max(threshold, logging.WARNING),
    )


def _by_room(level: str, rooms: Mapping[str, str]) -> type[FilteringBoundLogger]:
    """The wrapper class for structlog: per logger, the room decides about the level."""
    levels = {"": level, **rooms}
    classes: dict[str, Callable[..., FilteringBoundLogger]] = {
        room: structlog.make_filtering_bound_logger(_LEVELS[each])
        for room, each in levels.items()
    }
    silent = {room for room, each in levels.items() if each == "none"}

    def bind(
        logger: _LineLogger, processors: list[Processor], context: Any
    ) -> FilteringBoundLogger:
        room = logger.name.removeprefix("tocsin.").partition(".")[0]
        room = room if room in levels else ""
        chosen = [_drop] if room in silent else processors
        return classes[room](logger, chosen, context)

    return cast("type[FilteringBoundLogger]", bind)


def _drop(_: WrappedLogger, __: str, ___: EventDict) -> EventDict:
    raise structlog.DropEvent


def _route_libraries(
    stream: TextIO, formatter: structlog.stdlib.ProcessorFormatter, *, level: int
) -> None:
    """Send the standard logging through our form, in place of an earlier set-up."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    # A copy, since the loop removes.
    for old in root.handlers[:]:
        # Only our own handler of an earlier call; others stay.
        if isinstance(old.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)


class LibraryWords(logging.Handler):
    """Keeps what a library warned of last; an error only where it did not warn."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """See the standard library."""
        if record.levelno == logging.WARNING or not self.text:
            self.text = record.getMessage()[:_WORDS_LIMIT]


def listen_to_library(name: str) -> LibraryWords:
    """Keep a library's lines out of the log, for whoever tells what they mean."""
    words, logger = LibraryWords(), logging.getLogger(name)
    logger.handlers = [words]
    logger.propagate = False
    return words


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace values under secret names, and passwords quoted in texts.

    Numbers and booleans stay: `tokens=500` is a count. Long texts are cut, and what
    would move a terminal's cursor, or begin a line of its own, is written as an escape.
    """
    for name, value in event.items():
        if name in _LONG_NAMES and isinstance(value, str):
            event[name] = _plain_lines(scrub(value))
        else:
            event[name] = _redacted(name, value)
    return event


def _redacted(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _is_secret(name):
        return MASK if value else value
    if isinstance(value, str):
        return _plain(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        few = islice(value.items(), MOST_ITEMS)
        shown = {_plain(str(k)): _redacted(str(k), v) for k, v in few}
        if len(value) > MOST_ITEMS:
            shown["…"] = f"and {len(value) - MOST_ITEMS} more"
        return shown
    if isinstance(value, list | tuple | set | frozenset):
        items = [_redacted(name, item) for item in islice(value, MOST_ITEMS)]
        if len(value) > MOST_ITEMS:
            items.append(f"… and {len(value) - MOST_ITEMS} more")
        return items
    if isinstance(value, BaseException):
        return _plain(f"{type(value).__name__}: {value}")
    return _plain(str(value))


def _plain(text: str) -> str:
    """In one line, without secrets, and no longer than fits."""
    if text.isascii() and text.isprintable() and len(text) <= MOST_CHARACTERS:
        return scrub(text)
    # Scrubbed before it is cut: half of a password would not be recognised. The first
    # cut only bounds the work.
    scrubbed = scrub(text[: 20 * MOST_CHARACTERS])
    shown = "".join(map(_escaped, scrubbed[:MOST_CHARACTERS]))
    if len(text) > MOST_CHARACTERS:
        return f"{shown}… ({len(text)} characters)"
    return shown


def _plain_lines(text: str) -> str:
    """The same for a text of several lines."""
    shown = "".join(
        each if each == "\n" else _escaped(each) for each in text[:MOST_TRACE]
    )
    if len(text) > MOST_TRACE:
        return f"{shown}… ({len(text)} characters)"
    return shown


def _escaped(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def _is_secret(name: str) -> bool:
    if name in _PLAIN_NAMES:
        return False
    words = _WORDS.findall(_CAMEL.sub("_", name).lower())
    return not _SECRET_WORDS.isdisjoint(words)


def hide(secrets: Iterable[str]) -> None:
    """Take these values out of every later line, wherever a foreign text quotes them.

    Short ones stay: they stand in ordinary words.
    """
    _hidden.update(each for each in secrets if len(each) >= _SHORTEST_HIDDEN)


def scrub(text: str) -> str:
    """A text without the passwords and authorization values that it quotes."""
    for secret in _hidden:
        if secret in text:
            text = text.replace(secret, MASK)
    if "-----BEGIN " in text:
        text = _PEM.sub("-----BEGIN…", text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    return _CREDENTIAL.sub(rf"\1 {MASK}", text)


class _LineLogger:
    """Writes one line per call, or none where it cannot; `name` is the module's."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        # Nobody reads it any more, or the disk is full: the work goes on without logs.
        with contextlib.suppress(OSError, ValueError):
            self._write(line)

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
        except UnicodeEncodeError:
            self._stream.write(line.encode("ascii", "backslashreplace").decode() + "\n")
        self._stream.flush()

    debug = info = warning = error = critical = exception = msg


class _LineLoggerFactory:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *args: Any) -> _LineLogger:
        return _LineLogger(str(args[0]) if args else "tocsin", self._stream)


def _json() -> Processor:
    return structlog.processors.JSONRenderer(serializer=_dumps)


def _dumps(event: MutableMapping[str, Any], **_: Any) -> str:
    ordered = {name: event[name] for name in _FIRST if name in event}
    ordered.update(event)
    try:
        # A value that is no JSON is written as text: a log line must never raise.
        return orjson.dumps(ordered, default=str).decode()
    except TypeError:  # half of a surrogate pair, a key that is no text
        return json.dumps(ordered, default=str, skipkeys=True)


def _console() -> Processor:
    # The default formatter prints local variables where `rich` is installed, and
    # those hold tokens.
    return structlog.dev.ConsoleRenderer(exception_formatter=_write_traceback)


def _write_traceback(stream: TextIO, exc_info: Any) -> None:
    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    stream.write(_plain_lines(scrub(written.getvalue())))
