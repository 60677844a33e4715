"""Every error has a status and a message of its own."""

from collections.abc import Iterator

import pytest

from pisync.stores.errors import StoreError
from pisync.web.contract.problems import STATUSES, of_store_error


def store_errors(base: type[StoreError] = StoreError) -> Iterator[type[StoreError]]:
    for error in base.__subclasses__():
        yield error
        yield from store_errors(error)


def test_every_store_error_has_a_status() -> None:
    assert {error for error in store_errors() if error.__module__ == "pisync.stores.errors"} == set(
        STATUSES
    )


@pytest.mark.parametrize("error", STATUSES, ids=lambda error: error.__name__)
def test_a_store_error_is_answered_with_its_message(error: type[StoreError]) -> None:
    problem = of_store_error(error())
    assert problem.status == STATUSES[error]
    assert problem.message == error.message != StoreError.message
    # Not the docstring: there is none under `python -OO`.
    assert str(error()) == error.message
