"""Tocsin, a notification service: see ARCHITECTURE.md for the rooms."""

from __future__ import annotations

from collections.abc import Iterable

from tocsin.core.push_services import SERVICES, PushService
from tocsin.core.version import VERSION

__version__ = VERSION


def _declare() -> Iterable[PushService]:
    # The one name of a room above that others reach: it turns the import around, so
    # that rooms read the table and none of them knows where it is written.
    from tocsin.app.push_services import PUSH_SERVICES

    return PUSH_SERVICES


SERVICES.declared_by(_declare)
