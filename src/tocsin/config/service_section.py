"""What the section of any push service has beside its keys. Part of `config`.

It must not connect to a service, nor read the files that it names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from tocsin.config.fields import Section, file_keys
from tocsin.core.endpoints import EndpointRules


class ServiceSection(Section):
    """The keys of one credential of a push service."""

    NEEDED: ClassVar[tuple[str, ...]] = ()
    """Keys without which nothing can be sent."""
    KEPT: ClassVar[frozenset[str]] = frozenset({"tokens_batch_size"})
    """Keys that other parts of the process hold since its start, beside adapters."""

    @property
    def batch_size(self) -> int:
        """Recipients per job."""
        return int(getattr(self, "tokens_batch_size", 100))

    def find_missing(self, service: str) -> Iterator[tuple[str, str, str]]:
        """What keeps it from sending: key, what is wrong, key that this depends on.

        The last one is empty where it depends on several.
        """
        for key in self.NEEDED:
            if not getattr(self, key):
                yield key, f"must be set, since {service} is enabled", key

    def find_contradictions(self) -> Iterator[tuple[str, str]]:
        """What is wrong whether or not it is used: key, what is wrong."""
        yield from ()

    def find_dangers(self, path: str) -> Iterator[str]:  # noqa: ARG002 - as subclasses have it
        """What an operator is told at every start; `path` leads to its keys."""
        yield from ()

    def used_files(self) -> Iterator[tuple[str, str]]:
        """Keys and names of the files that sending reads."""
        for key in file_keys(type(self)):
            if name := getattr(self, key):
                yield key, str(name)

    def endpoint_rules(self) -> EndpointRules | None:
        """Which URLs may be targets; `None` where targets are none."""
        return None
