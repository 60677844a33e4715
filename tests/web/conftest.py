"""Fixtures of the tests of HTTP."""

import pytest

from tests.conftest import Api
from tests.web.lab import Lab, MakeLab, make_lab


@pytest.fixture
def new_lab(admin: Api) -> MakeLab:
    """Make fleets to experiment on."""

    async def new(*args: object, **kwargs: object) -> Lab:
        return await make_lab(admin, *args, **kwargs)  # type: ignore[arg-type]

    return new


@pytest.fixture
async def lab(admin: Api) -> Lab:
    """Ten devices on a manual clock; their attempts succeed after 10 s."""
    return await make_lab(admin)
