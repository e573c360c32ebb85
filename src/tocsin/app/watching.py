"""Notices that files of the configuration have changed, and waits until they are whole.

It polls, so that any file system will do, and follows links, as Kubernetes swaps them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from tocsin.app.lifecycle import Stopper, start_beside
from tocsin.app.reloading import Reloader
from tocsin.config import Config
from tocsin.config.fields import file_keys
from tocsin.config.pem import pem_file
from tocsin.config.showing import show_path

Look = tuple[int, int, int, int, int]
"""What tells one state of a file from another."""
State = Mapping[str, Look | None]
"""Of each path; `None` where nothing can be read."""

_SIZE = 0

_log = structlog.get_logger(__name__)


def named_files(config: Config) -> Iterator[str]:
    """The files that the configuration names and that a reload reads anew."""
    for credential in config.push_notifications.active_credentials:
        for key in file_keys(type(credential.settings)):
            if name := str(getattr(credential.settings, key)):
                yield name
    for section in (config.http_server, config.grpc_api, config.uni_grpc):
        tls = section.tls
        if tls.enabled:
            for value in (tls.cert_pem, tls.key_pem, tls.client_ca_pem):
                if name := pem_file(value):
                    yield name


def look_at(paths: Iterable[str]) -> State:
    """What is there now."""
    return {path: _look(path) for path in paths}


def _look(path: str) -> Look | None:
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    # With the time of the last change of anything: `cp -p` keeps the other.
    return (
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
        found.st_ino,
        found.st_dev,
    )


class FileWatch:
    """Compares files with what they were when they were last taken.

    `find_paths` says which ones; they may become others at each take.
    """

    def __init__(self, find_paths: Callable[[], Iterable[str]]) -> None:
        self._find_paths = find_paths
        self._taken: State = {}
        self._seen: State = {}
        self.begin_take()
        self.end_take()

    def begin_take(self) -> None:
        """Call it before the files are read: what changes meanwhile is news again."""
        self._taken = look_at(self._find_paths())

    def end_take(self) -> None:
        """Call it after they were read, whether or not they could be used."""
        now = look_at(self._find_paths())
        # Files that are watched since then were read in between.
        self._taken = {path: self._taken.get(path, now[path]) for path in now}
        self._seen = self._taken

    def look(self) -> State:
        """What is there now; may be called in another thread."""
        return look_at(self._find_paths())

    def judge(self, now: State) -> list[str]:
        """The paths that differ from what was taken; empty until they are whole.

        They count as whole when they are as in the look before, and none is empty: so
        looks a file that somebody has begun to write.
        """
        has_settled = now == self._seen
        self._seen = now
        changed = [path for path in now if now[path] != self._taken.get(path)]
        begun = [path for path in changed if (of := now[path]) and not of[_SIZE]]
        return changed if has_settled and not begun else []


class Watcher:
    """Reloads when files have changed, and at SIGHUP.

    Make it before the process opens anything: what changes from then on is news. `path`
    is the configuration file, `None` without one.
    """

    def __init__(self, config: Config, path: str | None) -> None:
        self._path = path
        self._configs = [config]
        self._watch = FileWatch(self._find_paths)
        self._reloader: Reloader | None = None

    def start(
        self, reloader: Reloader, stopper: Stopper, stack: AsyncExitStack
    ) -> None:
        """Begin to reload; leaving `stack` ends it."""
        self._reloader = reloader
        stopper.reload_with(self.reload)
        start_beside(self._watch_for_ever(reloader), stack)

    def reload(self) -> None:
        """Read all anew, whether or not anything has changed; it never raises."""
        if self._reloader is None:
            return
        self._watch.begin_take()
        self._reloader.reload()
        # Those of one that was refused, too: they may be what it waits for.
        self._configs = [self._reloader.current, self._reloader.wanted]
        self._watch.end_take()

    async def _watch_for_ever(self, reloader: Reloader) -> None:
        while True:
            settings = reloader.current.reload
            await asyncio.sleep(settings.interval)
            if not settings.watch_files:
                continue
            # In a thread: a file system in the network may not answer.
            now = await asyncio.to_thread(self._watch.look)
            if changed := self._watch.judge(now):
                shown = [show_path(path) for path in changed]
                _log.info("files of the configuration have changed", files=shown)
                self.reload()

    def _find_paths(self) -> Iterator[str]:
        if self._path is not None:
            yield self._path
        for config in self._configs:
            yield from named_files(config)
