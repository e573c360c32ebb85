"""What `make mutants` is told stays true while the code moves."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatch

import pytest
from tests.mutants.rooms import ROOT, Room, read_rooms
from tests.mutants.survivors import README, judged, read_diff

ROOMS = read_rooms()


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_module_and_test_that_is_named_exists(room: Room) -> None:
    """Whoever moves a module moves its name in rooms.toml, or it is changed no more."""
    assert room.faults() == []
    assert room.code
    assert room.tests


def test_a_module_that_moved_is_named() -> None:
    """The fault says where, so that nobody searches."""
    room = Room("gone", ["core/no.py"], ["unit/no.py"], "", 1, [])
    where = "tests/mutants/rooms.toml: [gone] names "
    assert room.faults() == [
        f"{where}src/tocsin/core/no.py, which is not there",
        f"{where}tests/unit/no.py, which is not there",
    ]


def test_a_room_may_name_one_class_or_function() -> None:
    """The rest of its module stays as it is, and its rows are not looked for."""
    code = ["http2/connecting.py::Backoff", "hub/feed.py::_key", "core/rates.py"]
    room = Room("some", code, ["unit"], "", 1, [])
    assert room.faults() == []
    assert room.modules == ["http2/connecting.py", "hub/feed.py", "core/rates.py"]

    def is_meant(name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in room.patterns())

    assert is_meant("tocsin.http2.connecting.xǁBackoffǁfailed__mutmut_1")
    assert not is_meant("tocsin.http2.connecting.xǁConnectorǁworked__mutmut_1")
    assert is_meant("tocsin.hub.feed.x__key__mutmut_12")
    assert not is_meant("tocsin.hub.feed.xǁFeedǁjoin__mutmut_1")
    assert is_meant("tocsin.core.rates.x_anything__mutmut_1")
    assert room.changes("http2/connecting.py", "Backoff.failed")
    assert not room.changes("http2/connecting.py", "Connector.worked")
    assert room.changes("hub/feed.py", "_key")
    assert room.changes("core/rates.py", "Anything.else_")


def test_a_class_that_moved_is_named() -> None:
    """As a module is: else it would be changed no more."""
    room = Room("gone", ["hub/feed.py::Fee"], ["unit"], "", 1, [])
    where = "tests/mutants/rooms.toml: [gone] names "
    assert room.faults() == [f"{where}src/tocsin/hub/feed.py::Fee, which is not there"]


def test_no_module_is_changed_in_two_parts() -> None:
    """Its rows in the table would be looked for twice."""
    counts = Counter(path for room in ROOMS for path in room.modules)
    assert [path for path, count in counts.items() if count > 1] == []


def test_every_verdict_is_about_code_that_is_changed() -> None:
    """A row of a module that moved says nothing; of a function, the run tells."""
    for module, function, change in judged():
        assert any(room.changes(module, function) for room in ROOMS)
        assert " → " in change


def test_every_row_of_the_table_is_read() -> None:
    """One with another form would be passed over, and its change reported again."""
    rows = [line for line in README.read_text().splitlines() if "→" in line]
    assert len(rows) == len(judged())
    for verdict in judged().values():
        assert re.match("equivalent|cosmetic|accepted: .", verdict)


def test_what_the_tool_shows_becomes_a_row() -> None:
    """With the change in one line, as the table has it."""
    shown = """# tocsin.hub.feed.xǁFeedǁ_take_out__mutmut_3: survived
--- src/tocsin/hub/feed.py
+++ src/tocsin/hub/feed.py
@@ -1,3 +1,3 @@
 def _take_out(self, each):
-    if each == 1 | 2:
+    if each != 1 | 2:
         return `x`
"""
    survivor = read_diff("tocsin.hub.feed.xǁFeedǁ_take_out__mutmut_3", shown)
    assert survivor.row() == (
        "| `hub/feed.py` `Feed._take_out`"
        " | `if each == 1 \\| 2: → if each != 1 \\| 2:` | ? |"
    )


def test_the_tools_pins_agree_with_those_of_the_tests() -> None:
    """It is installed beside them, and must not move them."""

    def pins(name: str) -> dict[str, str]:
        found = re.findall(
            r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE
        )
        return dict(found)

    tested, added = pins("requirements.lock"), pins("requirements-mutants.lock")
    assert added["mutmut"]
    both = tested.keys() & added.keys()
    assert {name: added[name] for name in both} == {n: tested[n] for n in both}
