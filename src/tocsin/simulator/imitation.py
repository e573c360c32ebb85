"""One imitated push service, as the simulator runs it, and the place where it runs.

Services that share the simulator's port answer by path; one whose rules are about
connections listens by itself. Neither names the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tocsin.simulator.certificates import Certificates
from tocsin.simulator.exchange import Reply, Request
from tocsin.simulator.faults import FaultPlan
from tocsin.simulator.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Place:
    """What an imitation finds when it starts.

    `directory` is for its files, `host` to listen on, `name` the host as a URL has it;
    `origin` is where the common port answers, `own_port` what to listen on by oneself
    (0 takes a free one). With `fast` every send is accepted unread, and only counted.
    """

    directory: Path
    host: str
    name: str
    origin: str
    port: int
    own_port: int
    certificates: Certificates
    ledger: Ledger
    faults: FaultPlan
    fast: bool = False

    @property
    def keys(self) -> dict[str, str]:
        """The keys of most sections: where to send, and whom to trust."""
        return {"endpoint": self.origin, "ca_file": self.ca_file}

    @property
    def ca_file(self) -> str:
        """The authority that signed the certificates here, as an absolute path."""
        return str(self.certificates.ca_file.absolute())


class Imitation:
    """An imitated push service; what one does not override it does not need."""

    fast_path = ""
    """In the fast mode, requests to paths that begin so get `fast_reply` unread."""
    fast_reply = Reply(200)

    def answer(self, request: Request) -> Reply | None:  # noqa: ARG002 - as subclasses have it
        """The reply, or `None` where the path belongs to somebody else."""
        return None

    def settings(self, place: Place) -> Mapping[str, Any]:
        """The keys of Tocsin's section for it that lead here, paths absolute."""
        return place.keys

    def facts(self, place: Place) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - as subclasses have it
        """What a person needs to send here by hand: what it is, and its value."""
        return ()

    def new_token(self, name: str) -> str:
        """What a device of that name would register as its token."""
        return name

    def expire_access_tokens(self) -> int:
        """Make every access token granted so far invalid; returns how many."""
        return 0

    def reset(self) -> None:
        """Forget how often each fault was met."""

    def settings_changed(self) -> None:
        """Limits of connections may have moved: tell every peer."""

    async def stop(self) -> None:
        """Close what it opened by itself."""
