from pathlib import Path

import pytest

from tocsin.config import ConfigError
from tocsin.config.files import read_file

SAME = {
    "c.json": '{"grpc_api": {"port": 1}}',
    "c.yaml": "grpc_api:\n  port: 1\n",
    "c.yml": "grpc_api: {port: 1}",
    "c.toml": "[grpc_api]\nport = 1\n",
    "json.conf": '\ufeff{"grpc_api": {"port": 1}}',
    "toml.conf": "grpc_api.port = 1",
    "yaml.conf": "grpc_api:\n  port: 1",
}


@pytest.mark.parametrize("name", list(SAME))
def test_every_format_gives_the_same_object(name: str, tmp_path: Path) -> None:
    """JSON, YAML and TOML are told apart by extension, else by content."""
    (tmp_path / name).write_text(SAME[name], encoding="utf-8")
    assert read_file(str(tmp_path / name)) == {"grpc_api": {"port": 1}}


@pytest.mark.parametrize("name", ["c.json", "c.yaml", "c.toml", "c"])
def test_an_empty_file_is_an_empty_object(name: str, tmp_path: Path) -> None:
    """Nothing written means nothing set."""
    (tmp_path / name).write_text("")
    assert read_file(str(tmp_path / name)) == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.json", '{"a": 1,}', "line 1"),
        ("c.json", '{"a": 1, "a": 2}', 'the name "a" is there twice'),
        ("c.json", '{"b": {"a": 1, "a": 2}}', 'the name "a" is there twice'),
        ("c.json", "[1]", "must hold an object"),
        ("c.json", "[" * 100_000, "nested too deeply"),
        ("c.json", '{"a": ' + "1" * 5000 + "}", "cannot be parsed"),
        ("c.yaml", "a: 1\na: 2\n", "a name is there twice at line 2"),
        ("c.yaml", "a: [", "line 1"),
        ("c.yaml", "a: !!python/object:os.system x", "could not determine"),
        ("c.yaml", "just words", "must hold an object"),
        ("c.yaml", "a: 2020-13-45", "cannot be parsed"),
        ("c.yaml", "a: \x01", "not YAML"),
        ("c.yaml", "a: !!bool hunter2", "not YAML"),
        ("c.yaml", "a: !!timestamp hunter2", "not YAML"),
        ("c.toml", "a = 1\na = 2", "cannot be parsed"),
        ("c.conf", "nothing of the kind", "must hold an object"),
    ],
)
def test_a_bad_file_is_one_fault_with_its_place(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    """The fault names the file and the position."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_file(str(tmp_path / name))
    assert [fault.path for fault in caught.value.faults] == [str(tmp_path / name)]


def test_a_parse_error_does_not_quote_the_file(tmp_path: Path) -> None:
    """The text near a syntax error may be a key, so only its place is told."""
    for name, text in {
        "c.yaml": "key: 'hunter2\nother: [",
        "c.json": '{"key": "hunter2" "x"}',
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError) as caught:
            read_file(str(tmp_path / name))
        assert "hunter2" not in str(caught.value)


def test_files_that_cannot_be_read_are_faults(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no text are told apart."""
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\xff")
    for path, message in {
        tmp_path / "missing.json": "No such file",
        tmp_path: "cannot be read",
        tmp_path / "bytes.json": "not UTF-8",
    }.items():
        with pytest.raises(ConfigError, match=message):
            read_file(str(path))


def test_yaml_merge_keys_still_work(tmp_path: Path) -> None:
    """The check for doubled names leaves `<<` alone."""
    (tmp_path / "c.yaml").write_text("x: &x {a: 1}\ny:\n  <<: *x\n  b: 2\n")
    assert read_file(str(tmp_path / "c.yaml"))["y"] == {"a": 1, "b": 2}
