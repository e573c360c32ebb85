from __future__ import annotations

from pathlib import Path

import pytest
from deploy.release.sbom import Pin, build_sbom, read_lock

ROOT = Path(__file__).parents[3]
LOCK = (ROOT / "requirements-runtime.lock").read_text()


def test_a_lock_is_read_pin_by_pin() -> None:
    """With the condition under which a package is installed, and all its files."""
    text = "# by hand\na-b==1.0 \\\n    --hash=sha256:" + "0" * 64
    text += " \\\n    --hash=sha256:" + "1" * 64
    text += "\nc==2 ; sys_platform == 'linux' \\\n    --hash=sha256:" + "2" * 64
    assert read_lock(text) == [
        Pin("a-b", "1.0", "", ("0" * 64, "1" * 64)),
        Pin("c", "2", "sys_platform == 'linux'", ("2" * 64,)),
    ]


def test_what_is_no_pin_is_refused() -> None:
    """A list that leaves something out is worse than none."""
    with pytest.raises(ValueError, match="not a pin: a>=1"):
        read_lock("a>=1\n")


def test_every_pinned_package_is_a_component() -> None:
    """Each has a name, a version, and a purl that others refer to."""
    pins = read_lock(LOCK)
    found = build_sbom(
        pins, version="1.2.3", made_at=0, bundled={"pkg:npm/x": "a" * 64}
    )
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    purls = [one["purl"] for one in found["components"]]
    assert len(purls) == len(set(purls)) == len(pins) + 1
    assert {pin.purl for pin in pins} | {"pkg:npm/x"} == set(purls)
    root = found["metadata"]["component"]["bom-ref"]
    refs = {root, *purls}
    assert {one["ref"] for one in found["dependencies"]} == refs
    for one in found["dependencies"]:
        needed = one.get("dependsOn", ())
        assert set(needed) <= refs
        assert len(set(needed)) == len(needed)
    direct = found["dependencies"][0]["dependsOn"]
    assert any(purl.startswith("pkg:pypi/grpcio@") for purl in direct)


def test_the_same_input_makes_the_same_document() -> None:
    """Its serial number too; it changes with what is inside."""
    pins = read_lock(LOCK)
    one, same = (build_sbom(pins, version="1", made_at=7) for _ in range(2))
    other = build_sbom(pins[1:], version="1", made_at=7)
    assert one == same
    assert one["serialNumber"] != other["serialNumber"]
    assert one["metadata"]["timestamp"] == "1970-01-01T00:00:07+00:00"
