from __future__ import annotations

import json
from typing import Any

from deploy.release.audit import Audit, read_report


def report(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_vulnerability_is_told_with_its_cure() -> None:
    """Package, version, name of the fault, and where it is mended."""
    text = report(
        {"name": "a", "version": "1", "vulns": []},
        {
            "name": "b",
            "version": "2",
            "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}, {"id": "X"}],
        },
    )
    assert read_report(text, "") == Audit(("b 2: PYSEC-1, mended in 2.1", "b 2: X"), "")


def test_what_could_not_be_asked_is_never_sound() -> None:
    """Neither packages that the index did not know, nor an index out of reach."""
    packages = [{"name": f"p{n}", "skip_reason": "not found"} for n in range(7)]
    some = read_report(
        report({"name": "a", "version": "1", "vulns": []}, *packages), ""
    )
    assert some.unasked == "7 of 8 packages: p0, p1, p2, p3, p4 and 2 more"
    lost = read_report("", "Traceback\n  x\nConnectionError: no such host\n")
    assert lost == Audit((), "ConnectionError: no such host")
    assert read_report("", "") == Audit((), "no report")
    assert read_report(report(), "") == Audit()
