"""Who asks for something administrative. Part of `admin`: a value, no rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """The name of a key, or of the person at a command line, and where it asks from.

    `name` never is the key itself. `door` is grpc, http or cli.
    """

    name: str
    address: str = ""
    door: str = ""


NOBODY = Actor("")
"""Who asks where no administrative key was needed."""
