"""What is installed elsewhere: the wheel, and the pinned packages below it."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tocsin"
IMPORT_ALL = """
import importlib, pkgutil, tocsin
for module in pkgutil.walk_packages(tocsin.__path__, "tocsin."):
    # Alembic's to run, and of an extra that is not installed.
    if module.name not in ("tocsin.sql_access.env", "tocsin.telemetry.opentelemetry"):
        importlib.import_module(module.name)
print(tocsin.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    (path,) = folder.glob("tocsin-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The folder that has the package as the wheel brings it."""
    folder = wheel.parent / "installed here"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    return folder


def run(
    installed: Path, folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Python with the installed package, in a folder that is no checkout."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    """Scripts, pages, names and migrations beside the code."""
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    wanted = {
        f"tocsin/{path.relative_to(SOURCE)}"
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert len(wanted) > 300
    assert wanted <= names
    assert {name for name in names - wanted if name.startswith("tocsin/")} == {
        "tocsin/cli/examples/devices.jsonl",
        "tocsin/cli/examples/message.json",
    }
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]


def test_every_module_loads_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """And none from the checkout."""
    done = run(installed, tmp_path, "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(installed / "tocsin" / "__init__.py")


def test_the_demo_plays_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """Without an option and far from a checkout, with the files that it brings."""
    devices = installed / "tocsin" / "cli" / "examples" / "devices.jsonl"
    shipped = devices.read_text()
    assert shipped == (ROOT / "examples" / "devices.jsonl").read_text()
    devices.write_text("".join(shipped.splitlines(keepends=True)[:100]))
    done = run(installed, tmp_path, "-m", "tocsin.cli.main", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^registered +100 devices", done.stdout, re.MULTILINE)
    assert re.search(r"^delivered +[1-9]", done.stdout, re.MULTILINE)


def test_schemas_are_made_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    """By the migrations that it brings."""
    (tmp_path / "c.yaml").write_text(
        "database: {sqlite: {path: t.db}}\npush_notifications: {enabled: true}"
    )
    command = ("-m", "tocsin.cli.main", "migrate", "--config", "c.yaml")
    done = run(installed, tmp_path, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "schemas are up to date" in done.stdout
    with sqlite3.connect(tmp_path / "t.db") as database:
        tables = database.execute("SELECT name FROM sqlite_master").fetchall()
    database.close()
    assert {("devices",), ("queue_jobs",)} <= set(tables)


def pins(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Package → its version, and its hashes."""
    text = (ROOT / name).read_text()
    found = {}
    for entry in re.split(r"\n(?=\S)", text):
        match = re.match(r"([a-z0-9.-]+)(?:\[[a-z,]+\])?==([^ ;\\]+)", entry)
        assert match is not None, entry[:80]
        hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
        assert hashes, match[1]
        found[match[1]] = (match[2], hashes)
    return found


def names_in(section: str) -> Iterator[str]:
    """Packages that a list of pyproject.toml names."""
    text = (ROOT / "pyproject.toml").read_text()
    match = re.search(rf"^{section} = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert match is not None
    yield from re.findall(r'^  "([a-zA-Z0-9-]+)', match[1], re.MULTILINE)


@pytest.mark.parametrize(
    "name", ["requirements-runtime.lock", "requirements-build.lock"]
)
def test_an_image_has_the_versions_that_were_tested(name: str) -> None:
    """Each pin is one of `requirements.lock`, with the same hashes."""
    tested = pins("requirements.lock")
    assert {each: tested.get(each) for each in pins(name)} == pins(name)
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "--index" not in text


def test_an_image_has_all_that_runs_and_no_tool_of_the_tests() -> None:
    """Direct dependencies are in; what only tests, lints or builds is out."""
    runtime = set(pins("requirements-runtime.lock"))
    dependencies = {name.lower() for name in names_in("dependencies")}
    tools = {name.lower() for name in names_in("dev")} - {"httpx", "h2"}
    assert len(dependencies) > 20
    assert len(tools) > 15
    assert dependencies <= runtime
    assert not tools & runtime
    assert "pip" not in runtime
    built = set(pins("requirements-build.lock"))
    assert "hatchling" in built
    assert not built - {"hatchling"} & tools


def test_the_container_file_copies_what_it_installs_and_builds() -> None:
    """The lists without tools, and every file that the wheel is made of."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    assert "requirements.lock" not in text
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
        for word in line.split()
    }
    assert all((ROOT / name).exists() for name in copied)
    project = (ROOT / "pyproject.toml").read_text()
    forced = re.findall(r'^"(.*)" = "tocsin/', project, re.MULTILINE)
    assert {"README.md", "LICENSE", "src", "pyproject.toml", *forced} <= copied
    used = set(re.findall(r"-r (\S+)", text))
    assert used == {"requirements-runtime.lock", "requirements-build.lock"}
    assert used <= copied
