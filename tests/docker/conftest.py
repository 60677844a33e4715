"""What the tests of containers share."""

from collections.abc import Iterator

import pytest

from tests.support.engine import built_image


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The name of the image, built once for each worker; the engine shares its layers."""
    with built_image() as name:
        yield name
