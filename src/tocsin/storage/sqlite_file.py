"""Whether a SQLite file is still the one that was opened.

Part of the storage room; it must not open the database.
"""

from __future__ import annotations

from pathlib import Path


class SqliteFile:
    """A path, and the file that stood there at the first connection.

    A process goes on writing into a file that was moved away or deleted; what it
    writes is lost, or found by nobody.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()
        self._opened: tuple[int, int] | None = None

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
        return found.st_dev, found.st_ino
