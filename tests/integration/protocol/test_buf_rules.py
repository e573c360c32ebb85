from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tests.support.wire_table import IMAGE, ROOT, buf, build_image


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with buf.yaml and the schemas, free to be changed."""
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    (tmp_path / "proto").mkdir()
    for schema in (ROOT / "proto").glob("*.proto"):
        shutil.copy(schema, tmp_path / "proto")
    return tmp_path


def change(folder: Path, old: str, new: str, *, file: str = "api.proto") -> None:
    """Replace text that must stand in the schema exactly once."""
    path = folder / "proto" / file
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


def files_of(image: Path) -> list[bytes]:
    """An image's files as the compiler's own message, free of buf's notes."""
    files = FileDescriptorSet.FromString(image.read_bytes()).file
    for file in files:
        file.DiscardUnknownFields()
    return sorted(file.SerializeToString(deterministic=True) for file in files)


def test_schemas_pass_the_lint_rules() -> None:
    """The committed schemas keep the rules of buf.yaml."""
    linted = buf("lint")
    assert linted.returncode == 0, linted.stdout


def test_schemas_are_formatted() -> None:
    """The committed schemas are as `buf format` writes them."""
    formatted = buf("format", "--diff", "--exit-code")
    assert formatted.returncode == 0, formatted.stdout


def test_a_call_without_a_comment_fails_the_lint(copy: Path) -> None:
    """A call that nobody explains does not get in."""
    change(copy, "  // Counts the keys of a map channel. Not built yet.\n", "")
    linted = buf("lint", cwd=copy)
    assert linted.returncode != 0
    assert 'RPC "MapStats" should have a non-empty comment' in linted.stdout


def test_schemas_keep_what_is_published() -> None:
    """Everything in the published image is in the committed schemas."""
    compared = buf("breaking", "--against", str(IMAGE))
    assert compared.returncode == 0, compared.stdout


def test_the_image_is_that_of_the_tables(tmp_path: Path) -> None:
    """The committed image holds what the tables say today."""
    built = tmp_path / "built.binpb"
    build_image(built)
    assert files_of(built) == files_of(IMAGE)


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("api.proto", "string fcm_topic = 3;", "string fcm_topic = 63;", "fcm_topic"),
        ("api.proto", "int64 send_at = 4;", "int32 send_at = 4;", "send_at"),
        ("api.proto", "string msg_id = 4;", "string message_id = 4;", "msg_id"),
        ("api.proto", "repeated Reply replies", "Reply replies", "replies"),
        ("client.proto", "  reserved 2, 3, 4, 5, 6;\n", "", "reserved"),
        ("unistream.proto", "(stream Push)", "(Push)", "streaming"),
    ],
)
def test_a_broken_promise_is_noticed(
    copy: Path, file: str, old: str, new: str, complaint: str
) -> None:
    """A number, type, name, label, reservation or stream that changes is named."""
    change(copy, old, new, file=file)
    compared = buf("breaking", "--against", str(IMAGE), cwd=copy)
    assert compared.returncode != 0
    assert complaint in compared.stdout
