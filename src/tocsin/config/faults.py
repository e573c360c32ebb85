"""What is wrong with a configuration, all of it at once. Part of `config`.

It must not carry secret values: a fault is printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One thing to put right: the key, what to do, and where it was written."""

    path: str
    message: str
    source: str = ""

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{text} [{self.source}]" if self.source else text


class ConfigError(Exception):
    """The configuration cannot be used; one fault a line."""

    def __init__(self, faults: Sequence[ConfigFault]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))
