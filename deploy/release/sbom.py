"""The list of what an installation holds (SBOM), in CycloneDX 1.6 as JSON.

It is made of the pinned packages in a lock file and of what those installed here say of
themselves. The same input makes the same bytes.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from itertools import starmap
from typing import Any

_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^ ;\\]+)(?:\s*;\s*([^\\]+?))?\s*\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
SPEC = "1.6"


@dataclass(frozen=True, slots=True)
class Pin:
    """A package at a version, when it is installed (`marker`), its files' hashes."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its name among all packages of all ecosystems."""
        return f"pkg:pypi/{normalise(self.name)}@{self.version}"


def normalise(name: str) -> str:
    """The one spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str) -> list[Pin]:
    """The pins of a requirements file with hashes; raises `ValueError` for others."""
    pins: list[Pin] = []
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if found := _HASH.search(line):
            last = pins.pop()
            hashes = (*last.hashes, found[1])
            pins.append(Pin(last.name, last.version, last.marker, hashes))
        elif pin := _PIN.match(line):
            pins.append(Pin(pin[1], pin[2], pin[3] or "", ()))
        else:
            raise ValueError(f"not a pin: {line}")
    return pins


def build_sbom(
    pins: Iterable[Pin],
    *,
    version: str,
    made_at: int,
    bundled: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The document; `made_at` is Unix seconds.

    `bundled` are foreign files inside the package: purl → SHA-256.
    """
    pins = sorted(pins, key=lambda pin: normalise(pin.name))
    ours = f"pkg:pypi/tocsin@{version}"
    known = {normalise(pin.name): pin.purl for pin in pins}
    extra = dict(bundled or {})
    requires = {pin.purl: sorted(set(_requires(pin.name, known))) for pin in pins}
    direct = sorted({*_requires("tocsin", known), *extra})
    document: dict[str, Any] = {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(made_at, UTC).isoformat(),
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": "tocsin",
                "version": version,
                "purl": ours,
            },
        },
        "components": [*map(_component, pins), *starmap(_bundled, extra.items())],
        "dependencies": [
            {"ref": ours, "dependsOn": direct},
            *({"ref": purl, "dependsOn": on} for purl, on in requires.items()),
            *({"ref": purl} for purl in extra),
        ],
    }
    text = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    return document


def _component(pin: Pin) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": pin.purl,
        "name": pin.name,
        "version": pin.version,
        "purl": pin.purl,
    }
    if licence := _licence(pin.name):
        found["licenses"] = [licence]
    # A package has a file for each platform, so that a hash is that of one file.
    found["properties"] = [
        *({"name": "tocsin:marker", "value": each} for each in (pin.marker,) if each),
        *({"name": "tocsin:file:sha256", "value": each} for each in pin.hashes),
    ]
    return found


def _bundled(purl: str, digest: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": purl,
        "name": purl.rpartition("/")[2],
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def _licence(name: str) -> Mapping[str, Any] | None:
    about = _about(name)
    if about is None:
        return None
    if expression := about.get("License-Expression"):
        return {"expression": expression}
    for classifier in about.get_all("Classifier") or ():
        if classifier.startswith("License :: OSI Approved :: "):
            return {"license": {"name": classifier.rpartition(" :: ")[2]}}
    return None


def _requires(name: str, known: Mapping[str, str]) -> Iterator[str]:
    about = _about(name)
    for line in (about.get_all("Requires-Dist") if about else None) or ():
        required = _NAME.match(line)
        if required is None or "extra ==" in line:
            continue
        if purl := known.get(normalise(required[0])):
            yield purl


def _about(name: str) -> Any:
    try:
        return metadata.metadata(name)
    except metadata.PackageNotFoundError:  # of another platform
        return None
