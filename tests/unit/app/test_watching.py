"""Files are taken when they have changed and stand still."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tocsin.app.watching import FileWatch, named_files
from tocsin.config import Config


class Files:
    """A watch over some files of a folder, looked at when a test says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = ["c.json"]
        (folder / "c.json").write_text("one")
        self.watch = FileWatch(lambda: [str(folder / name) for name in self.names])

    def write(self, text: str, name: str = "c.json") -> None:
        """A new content, never within the grain of the clock of the old one."""
        path = self.folder / name
        path.write_text(text)
        self.later(path)

    def later(self, path: Path) -> None:
        found = path.stat()
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))

    def look(self) -> list[str]:
        return [Path(path).name for path in self.watch.judge(self.watch.look())]

    def take(self) -> None:
        self.watch.begin_take()
        self.watch.end_take()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_nothing_is_news_at_first(files: Files) -> None:
    """What is there when the process begins has been read."""
    assert files.look() == []
    assert files.look() == []


def test_a_change_that_stands_still_for_two_looks_is_taken_once(files: Files) -> None:
    """And again after the next one."""
    for text in ("two", "three"):
        files.write(text)
        assert files.look() == []
        assert files.look() == ["c.json"]
        files.take()
        assert files.look() == []


def test_a_file_that_is_being_written_is_waited_for(files: Files) -> None:
    """As long as every look finds another state, and while it is empty."""
    for text in ("t", "tw", "two"):
        files.write(text)
        assert files.look() == []
    files.write("")
    for _ in range(3):
        assert files.look() == []
    files.write("two")
    assert files.look() == []
    assert files.look() == ["c.json"]


def test_a_file_put_in_its_place_is_noticed(files: Files) -> None:
    """Of the same size and time, as `mv` and `cp -p` leave it."""
    path = files.folder / "c.json"
    found = path.stat()
    other = files.folder / "other"
    other.write_text("two")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.rename(path)
    assert files.look() == []
    assert files.look() == ["c.json"]


def test_links_are_followed(tmp_path: Path) -> None:
    """Kubernetes swaps the folder that a link leads to."""
    for name in ("v1", "v2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "c.json").write_text("same")
    data = tmp_path / "..data"
    data.symlink_to("v1")
    (tmp_path / "c.json").symlink_to("..data/c.json")
    watch = FileWatch(lambda: [str(tmp_path / "c.json")])
    fresh = tmp_path / "..tmp"
    fresh.symlink_to("v2")
    fresh.rename(data)
    assert watch.judge(watch.look()) == []
    assert watch.judge(watch.look()) == [str(tmp_path / "c.json")]


def test_a_file_that_goes_is_news_and_so_is_its_return(files: Files) -> None:
    """Whoever reads it says what is missing."""
    (files.folder / "c.json").unlink()
    assert files.look() == []
    assert files.look() == ["c.json"]
    files.take()
    assert files.look() == []
    files.write("one")
    assert files.look() == []
    assert files.look() == ["c.json"]


def test_what_changes_while_it_is_read_is_news_again(files: Files) -> None:
    """It may not have been seen."""
    files.write("two")
    files.watch.begin_take()
    files.write("three and more")
    files.watch.end_take()
    assert files.look() == []
    assert files.look() == ["c.json"]


def test_files_that_are_named_since_a_take_are_watched(files: Files) -> None:
    """Also one that is not there yet; others are forgotten."""
    files.watch.begin_take()
    files.names = ["key.p8", "gone.pem"]
    files.write("k", "key.p8")
    files.watch.end_take()
    assert files.look() == []
    files.write("new", "gone.pem")
    files.write("two", "c.json")
    assert files.look() == []
    assert files.look() == ["gone.pem"]


def test_the_files_of_a_configuration() -> None:
    """Credentials and certificates in use; neither PEM text nor what is off."""
    pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"
    config = Config.model_validate(
        {
            "http_server": {
                "tls": {"enabled": True, "cert_pem": "a.pem", "key_pem": "a.key"}
            },
            "grpc_api": {
                "tls": {"enabled": True, "cert_pem": pem, "client_ca_pem": "ca.pem"}
            },
            "uni_grpc": {"tls": {"cert_pem": "off.pem"}},
            "push_notifications": {
                "enabled_providers": ["fcm"],
                "fcm": {"credentials_file": "fcm.json", "ca_file": "roots.pem"},
                "apns": {"token_key_file": "off.p8"},
                "integrations": [
                    {"identifier": "b", "provider": "apns", "token_key_file": "b.p8"},
                    {
                        "identifier": "c",
                        "provider": "fcm",
                        "credentials_file": "off.json",
                        "active": False,
                    },
                ],
            },
        }
    )
    assert sorted(named_files(config)) == [
        *("a.key", "a.pem", "b.p8", "ca.pem", "fcm.json", "roots.pem")
    ]
