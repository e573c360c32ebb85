"""API methods for map and shared-poll channels, which this release does not have.

They answer with an error: no namespace can be of these types.
"""

from __future__ import annotations

from typing import Any

from tocsin.api.call import Call, Method, Services
from tocsin.core.errors import NotAvailable


def not_available(name: str) -> Method:
    """A method that answers every request with error 108."""

    async def refuse(
        _services: Services, _request: Any, _result: Any, _call: Call
    ) -> None:
        raise NotAvailable(name)

    refuse.__name__ = name  # as every method has the name of its RPC
    return refuse
