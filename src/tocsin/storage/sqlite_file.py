"""The SQLite file: who may read it, and whether it is still the one that was opened.

Part of the storage room; it must not open the database.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import structlog

_BESIDE = ("", "-wal", "-shm", "-journal")

_log = structlog.get_logger(__name__)


class SqliteFile:
    """A path, and the file that stood there at the first connection.

    A process can go on writing into a file that was moved away or deleted, and nobody
    finds what it writes.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()
        self._opened: tuple[int, int] | None = None

    def keep_private(self) -> None:
        """Create the file for its owner only, or take it from everybody else.

        It holds the tokens of devices. SQLite gives the files that it puts beside it
        the same mode. A mode that lets in a group only, set by hand, stays.
        """
        try:
            number = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        except FileExistsError:
            self._close_to_others()
        except OSError:
            return  # whoever opens it says what is wrong with the place
        else:
            os.close(number)

    def _close_to_others(self) -> None:
        for suffix in _BESIDE:
            path = self._path.with_name(self._path.name + suffix)
            try:
                mode = path.stat().st_mode
                if not stat.S_ISREG(mode) or not mode & stat.S_IRWXO:
                    continue
                path.chmod(stat.S_IMODE(mode) & stat.S_IRWXU)
            except FileNotFoundError:
                continue
            except OSError as error:
                _log.warning(
                    "every user of this host may read the devices' tokens: let the"
                    " file's owner run chmod 600 on it",
                    file=str(path),
                    reason=error.strerror,
                )
            else:
                _log.info(
                    "a file that all could read is its owner's alone", file=str(path)
                )

    def note(self) -> None:
        """A connection was made; the first one decides which file is meant."""
        if self._opened is None:
            self._opened = self._identify()

    def find_change(self) -> str:
        """What has become of the file, in words for a person; or nothing."""
        if self._opened is None:
            return ""
        now = self._identify()
        if now == self._opened:
            return ""
        what = "is gone" if now is None else "is another one now"
        return (
            f"the file {self._path} {what}; what is written now is lost at the end:"
            " put it back or restart"
        )

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        # Device and inode: a file that replaced it has others.
        return found.st_dev, found.st_ino
