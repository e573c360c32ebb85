"""`tocsin demo`, which is what `make run` shows, and its examples."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.support.tocsin_processes import Processes, wait_until

from tocsin.app.demo import read_devices, read_message

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

EXAMPLES = Path(__file__).parents[2] / "examples"
DEVICES = 60


@pytest.fixture
def some_devices(tmp_path: Path) -> Path:
    """The first devices of the example, which has every provider in turn."""
    lines = (EXAMPLES / "devices.jsonl").read_text().splitlines()[:DEVICES]
    path = tmp_path / "devices.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def number(text: str, label: str) -> int:
    """The figure beside a label of the summary, which comes after the progress."""
    found = re.findall(rf"^\s*{label}\s+([\d,]+)", text, re.MULTILINE)
    assert found, text
    return int(found[-1].replace(",", ""))


def test_the_examples_are_realistic() -> None:
    """5,000 devices of four providers on topics, most of them with a user."""
    devices = read_devices(EXAMPLES / "devices.jsonl")
    assert len(devices) == 5000
    providers = Counter(device.provider for device in devices)
    assert set(providers) == {"fcm", "apns", "hms", "webpush"}
    assert all(device.topics for device in devices)
    assert sum(bool(device.user) for device in devices) > 4000
    message = read_message(EXAMPLES / "message.json")
    assert list(message.recipient.topics) == ["announcements"]


def test_every_recipient_is_accounted_for(
    processes: Processes, some_devices: Path
) -> None:
    """The summary adds up, and the demo ends by itself with 0."""
    demo = processes.start("demo", "--devices", str(some_devices))
    assert demo.wait_exit(deadline_s=120) == 0, demo.text()
    said = demo.text()
    assert number(said, "registered") == DEVICES
    recipients = number(said, "accepted")
    assert recipients == DEVICES
    delivered, failed = number(said, "delivered"), number(said, "failed")
    assert delivered + failed == recipients
    assert delivered > failed
    assert number(said, "dead letters") == 0
    by_provider = [number(said, name) for name in ("fcm", "apns", "hms", "webpush")]
    assert sum(by_provider) == delivered
    assert re.search(r"p50 [\d,]+ ms, p99 [\d,]+ ms", said)
    online = number(said, "online")
    assert number(said, "reached") == online > 0
    assert number(said, "not pushed") >= online


def test_a_kept_demo_answers_the_lines_that_it_prints(
    processes: Processes, some_devices: Path
) -> None:
    """Each curl and grpcurl line works until Ctrl-C, which ends it with 0."""
    demo = processes.start("demo", "--devices", str(some_devices), "--keep")
    wait_until(lambda: "It keeps running" in demo.text(), deadline_s=120)
    wait_until(lambda: "/control/stats" in demo.text())
    lines = re.findall(r"^((?:curl|grpcurl) .*)$", demo.text(), re.MULTILINE)
    assert len(lines) == 9
    for line in lines:
        if shutil.which(line.split()[0]) is None:
            continue
        done = subprocess.run(
            ["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, line + done.stderr
        assert '"error"' not in done.stdout, done.stdout
        assert done.stdout.strip(), line
    demo.child.send_signal(2)
    assert demo.wait_exit(deadline_s=60) == 0, demo.text()


@pytest.mark.parametrize(
    ("option", "content", "words"),
    [
        ("--devices", '{"provider":"fcm","token":"a"}\n{"provider":1}', ":2: "),
        ("--devices", "", "holds no device"),
        ("--message", '{"recipient":{"topics":"all"}}', "recipient.topics"),
        ("--message", None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_told(
    processes: Processes,
    tmp_path: Path,
    option: str,
    content: str | None,
    words: str,
) -> None:
    """With the file, the line or the field; nothing is started, the exit code is 2."""
    path = tmp_path / "given.json"
    if content is not None:
        path.write_text(content)
    demo = processes.start("demo", option, str(path))
    assert demo.wait_exit(deadline_s=60) == 2
    assert words in demo.text()
    assert str(path) in demo.text()
    assert "Traceback" not in demo.text()


def test_a_refused_send_is_told(
    processes: Processes, some_devices: Path, tmp_path: Path
) -> None:
    """In the words of the API; the exit code is 1."""
    path = tmp_path / "message.json"
    path.write_text(json.dumps({"recipient": {"topics": ["a"]}, "notification": {}}))
    demo = processes.start(
        "demo", "--devices", str(some_devices), "--message", str(path)
    )
    assert demo.wait_exit(deadline_s=120) == 1
    assert "the send was refused: bad request: notification" in demo.text()
