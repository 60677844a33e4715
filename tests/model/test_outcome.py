import pytest

from pisync.model.outcome import (
    FAILURES,
    MESSAGE_LENGTH,
    OUTCOME_CODES,
    STATUS_CODES,
    why_not_an_outcome,
)


def test_the_codes_are_the_contracts() -> None:
    assert set(FAILURES) == {400, 404, 500}
    assert set(OUTCOME_CODES) == {200, 400, 404, 500}
    assert set(STATUS_CODES) == {200, 202, 400, 404, 500}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (200, None),
        (400, "Storage Full"),
        (404, "x"),
        (500, "x" * MESSAGE_LENGTH),
        (500, "😀" * MESSAGE_LENGTH),
        (500, " "),
    ],
)
def test_a_message_exactly_if_it_is_a_failure(code: int, message: str | None) -> None:
    assert why_not_an_outcome(code, message) == {}


@pytest.mark.parametrize("code", [0, 201, 202, 401, 503, -200])
@pytest.mark.parametrize("message", [None, "Storage Full", ""])
def test_another_code_is_none_whatever_the_message(code: int, message: str | None) -> None:
    assert list(why_not_an_outcome(code, message)) == ["sync_status_code"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (200, "Storage Full"),
        (200, ""),
        (400, None),
        (404, ""),
        (500, "x" * (MESSAGE_LENGTH + 1)),
    ],
)
def test_a_message_that_does_not_fit_is_told(code: int, message: str | None) -> None:
    assert list(why_not_an_outcome(code, message)) == ["error_message"]
