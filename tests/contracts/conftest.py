"""What contracts of the registry's stores share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.registries import REGISTRIES, RegistryPlace, registry_for


@pytest.fixture(params=REGISTRIES)
async def registry(request: pytest.FixtureRequest) -> AsyncIterator[RegistryPlace]:
    """A registry without data, of each kind in turn."""
    async with registry_for(request, request.param) as place:
        yield place
