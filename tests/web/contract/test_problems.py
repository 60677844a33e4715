"""Every error has a status and a message of its own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from pisync.model.requests.idempotency import RememberedAnswer
from pisync.stores.errors import RequestRemembered, StoreError
from pisync.web.contract.problems import STATUSES, of_store_error

ARGUMENTS: Mapping[type[StoreError], Sequence[Any]] = {
    RequestRemembered: [RememberedAnswer(b"content", b"", 1, is_complete=False)]
}
"""What an error is about, where it has to be said."""


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
    made = error(*ARGUMENTS.get(error, ()))
    problem = of_store_error(made)
    assert problem.status == STATUSES[error]
    assert problem.message == error.message != StoreError.message
    # Not the docstring: there is none under `python -OO`.
    assert str(made) == error.message
