"""Sessions room: a connection's deadlines: pings, pongs, expiry, upkeep.

It must not keep time itself; the wheel calls.
"""

from __future__ import annotations

import random

from tocsin.core.client_codes import CONNECTION_EXPIRED, NO_PONG, STALE
from tocsin.protocol.frames import encode_ping
from tocsin.sessions.connection import ClientConnection, State
from tocsin.sessions.context import Context
from tocsin.sessions.link import Link, Traits
from tocsin.sessions.upkeep import look_after

_NEVER = float("inf")
_REFUSED_END_S = 5.0  # as the published server waits for the client to close


class TimedClientConnection(ClientConnection):
    """A connection with its next deadlines, on the loop's clock."""

    __slots__ = (
        "_ping_at_s",
        "_ping_sent_s",
        "_pong_by_s",
        "_stale_at_s",
        "_tick_at_s",
        "timer_slot",
    )

    def __init__(
        self, context: Context, link: Link, traits: Traits, *, header_user: str
    ) -> None:
        super().__init__(context, link, traits, header_user=header_user)
        self.timer_slot = -1
        self._ping_at_s = self._pong_by_s = self._tick_at_s = _NEVER
        self._stale_at_s = _NEVER
        self._ping_sent_s = 0.0

    def expect_connect(self) -> None:
        """End the client unless it connects within `stale_close_delay_s`."""
        delay_s = self.context.settings.stale_close_delay_s
        if delay_s > 0:
            self._stale_at_s = self.context.wheel.now() + delay_s
            self._schedule()

    def end_soon(self) -> None:
        """Give a refused client some time to close, then end it."""
        self._stale_at_s = self.context.wheel.now() + _REFUSED_END_S
        self._schedule()

    def begin(self) -> None:
        """See `ClientConnection`."""
        settings = self.context.settings
        now_s = self.context.wheel.now()
        self._stale_at_s = _NEVER
        if self._pings and settings.ping_interval_s > 0:
            share = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, no secret
            self._ping_at_s = now_s + settings.ping_interval_s * share
        if settings.presence_update_interval_s > 0:
            share = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, no secret
            self._tick_at_s = now_s + settings.presence_update_interval_s * share
        self._schedule()

    def reschedule(self) -> None:
        """See `ClientConnection`."""
        if not self.is_closed:
            self._schedule()

    def shut(self) -> None:
        """See `ClientConnection`."""
        super().shut()
        self.context.wheel.remove(self)

    @property
    def awaits_pong(self) -> bool:
        """Whether a ping is still unanswered."""
        return self._pong_by_s != _NEVER

    def note_pong(self) -> None:
        """The ping is answered."""
        self._pong_by_s = _NEVER
        passed_s = self.context.wheel.now() - self._ping_sent_s
        self.latency_ms = max(0, int(passed_s * 1000))
        self.context.hub.meter.ponged(self.traits.name, passed_s)

    @property
    def _pings(self) -> bool:
        return self.traits.pings or self.traits.native_pings

    def _schedule(self) -> None:
        when_s = min(
            self._stale_at_s, self._ping_at_s, self._pong_by_s, self._tick_at_s
        )
        if self.expire_at and self.state is State.CONNECTED:
            # Expiry is on the wall clock, the wheel on the loop's. Where they differ,
            # it is looked at again, and not without end in the same moment.
            wheel = self.context.wheel
            when_s = min(when_s, wheel.now() + max(0.1, self._expires_in_s()))
        if when_s != _NEVER:
            self.context.wheel.put(self, when_s)

    def _expires_in_s(self) -> float:
        delay_s = self.context.settings.expired_close_delay_s
        return self.expire_at + delay_s - self.context.clock.now_ms() / 1000

    def on_timer(self, now_s: float) -> None:
        """See `Timed`."""
        if self.is_closed:
            return
        if now_s >= self._stale_at_s:
            self._end_stale()
            return
        if now_s >= self._pong_by_s:
            self.close(NO_PONG)
            return
        if self.expire_at and self._expires_in_s() <= 0:
            self.close(CONNECTION_EXPIRED)
            return
        if now_s >= self._ping_at_s:
            self._ping(now_s)
        if now_s >= self._tick_at_s:
            self._tick_at_s = now_s + self.context.settings.presence_update_interval_s
            look_after(self)
        if not self.is_closed:
            self._schedule()

    def _end_stale(self) -> None:
        if self.state is State.REFUSED and self.traits.ends_after_refusal:
            self.shut()
            self.link.end()
        else:
            is_new = self.state is State.NEW
            self.close(STALE, why="it sent no connect in time" if is_new else "")

    def _ping(self, now_s: float) -> None:
        settings = self.context.settings
        self._ping_at_s = now_s + settings.ping_interval_s
        self._ping_sent_s = now_s
        if self.traits.pings:
            self.write(encode_ping(self.traits.form), "server_ping")
        if self.traits.native_pings:
            self.link.ping()
        if settings.pong_timeout_s > 0 and not self.traits.form.unidirectional:
            self._pong_by_s = now_s + settings.pong_timeout_s
