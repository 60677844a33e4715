"""Fixtures of the tests of HTTP."""

import pytest

from tests.conftest import Api
from tests.support.fleet_lab import (
    FleetLab,
    MakeFleetLab,
    make_lab,
)


@pytest.fixture
def new_lab(admin: Api) -> MakeFleetLab:
    """Make fleets to experiment on."""

    async def new(*args: object, **kwargs: object) -> FleetLab:
        return await make_lab(admin, *args, **kwargs)  # type: ignore[arg-type]

    return new


@pytest.fixture
async def lab(admin: Api) -> FleetLab:
    """Ten devices on a manual clock; their attempts succeed after 10 s."""
    return await make_lab(admin)
