"""Hub room: finds this node's connections by client, user or session.

It must not act on them; the caller does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import structlog

from tocsin.core.control import Target
from tocsin.hub.subscription import Member
from tocsin.protocol.tags_filter import BadFilter, Condition, compile_label_filter

_log = structlog.get_logger(__name__)


class Registry:
    """Connections that passed `connect`, and emulated ones from their opening on.

    `note_user`, where it is set, is told of every user that comes or goes.
    """

    def __init__(self) -> None:
        self._members: dict[str, Member] = {}
        self._by_user: dict[str, dict[str, Member]] = {}
        self._by_session: dict[str, Member] = {}
        self.note_user: Callable[[str], None] | None = None

    def add(self, member: Member) -> None:
        """Register a connection that knows its user."""
        self._members[member.client] = member
        self._by_user.setdefault(member.user, {})[member.client] = member
        if member.session:
            self._by_session[member.session] = member
        if self.note_user is not None:
            self.note_user(member.user)

    def add_session(self, member: Member) -> None:
        """Let a connection be found by its session id before it is connected."""
        self._by_session[member.session] = member

    def remove(self, member: Member) -> None:
        """Forget a connection; it need not be there."""
        self._members.pop(member.client, None)
        same_user = self._by_user.get(member.user)
        if same_user is not None:
            same_user.pop(member.client, None)
            if not same_user:
                del self._by_user[member.user]
            if self.note_user is not None:
                self.note_user(member.user)
        if self._by_session.get(member.session) is member:
            del self._by_session[member.session]

    def find_client(self, client: str) -> Member | None:
        """The connection with this client id."""
        return self._members.get(client)

    def find_session(self, session: str) -> Member | None:
        """The emulated or one-way connection with this session id."""
        return self._by_session.get(session)

    def count_user(self, user: str) -> int:
        """How many connections of a user are here."""
        return len(self._by_user.get(user, ()))

    def users(self) -> list[str]:
        """Who is connected here."""
        return list(self._by_user)

    @property
    def num_clients(self) -> int:
        """Connections that passed `connect`."""
        return len(self._members)

    @property
    def num_users(self) -> int:
        """Different users; all connections without a user count as one."""
        return len(self._by_user)

    def connected(self) -> list[Member]:
        """All that passed `connect`."""
        return list(self._members.values())

    def everybody(self) -> list[Member]:
        """As `connected`, and emulated ones before `connect`; some appear twice."""
        return [*self._members.values(), *self._by_session.values()]

    def has_match(self, target: Target) -> bool:
        """Whether a command for this target would find a connection here."""
        return bool(self.find(target))

    def find(self, target: Target) -> list[Member]:
        """The connections that a command is for; none where its filter is broken."""
        condition: Condition | None = None
        if target.label_filter is not None:
            try:
                condition = compile_label_filter(target.label_filter)
            except BadFilter as error:
                _log.warning(
                    "a command reaches nobody: its label filter cannot be read",
                    reason=str(error),
                )
                return []
        return list(self._matching(target, condition))

    def _matching(
        self, target: Target, condition: Condition | None
    ) -> Iterator[Member]:
        for member in self._candidates(target):
            if (
                (target.all_users or member.user == target.user)
                and (not target.client or member.client == target.client)
                and (not target.session or member.session == target.session)
                and (condition is None or condition(member.labels))
            ):
                yield member

    def _candidates(self, target: Target) -> list[Member]:
        if target.client:
            found = self._members.get(target.client)
            return [] if found is None else [found]
        if target.session:
            found = self._by_session.get(target.session)
            # One that has not passed `connect` belongs to no user yet.
            is_known = found is not None and found.client in self._members
            return [found] if found is not None and is_known else []
        if target.all_users:
            return self.connected()
        return list(self._by_user.get(target.user, {}).values())
