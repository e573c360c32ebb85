"""What all workers know of breakers: short texts by name, changed by comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class BreakerStore(Protocol):
    """Where workers share breakers and halts; few stand at a time.

    Names and texts are those of `core/breaker.py`. Every method raises `ApiError` when
    the store cannot be reached.
    """

    async def fetch(self) -> Mapping[str, str]:
        """All that stand now, by name."""
        ...

    async def swap(self, name: str, before: str | None, after: str | None) -> bool:
        """Replace what stands under this name if it is still `before`.

        `None` means that nothing stands. Of several calls at once exactly one wins;
        the others get `False`, and have changed nothing.
        """
        ...
