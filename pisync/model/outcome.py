"""An outcome: how an attempt ends."""

from typing import NamedTuple

SUCCESS = 200
PENDING = 202
FAILURES = (400, 404, 500)
OUTCOME_CODES = (SUCCESS, *FAILURES)
STATUS_CODES = (SUCCESS, PENDING, *FAILURES)
MESSAGE_LENGTH = 200
"""The longest error message, in characters."""


class Outcome(NamedTuple):
    """How an attempt ends: one of `OUTCOME_CODES`, and a message exactly if it is a failure."""

    sync_status_code: int
    error_message: str | None


SUCCEEDED = Outcome(SUCCESS, None)


def why_not_an_outcome(sync_status_code: int, error_message: str | None) -> dict[str, str]:
    """Say, field by field, why these two are no outcome; empty if they are one."""
    if sync_status_code not in OUTCOME_CODES:
        return {"sync_status_code": f"Must be one of: {', '.join(map(str, OUTCOME_CODES))}."}
    if sync_status_code == SUCCESS:
        return {} if error_message is None else {"error_message": "A success has no message."}
    if error_message is None:
        return {"error_message": "A failure needs a message."}
    if not 1 <= len(error_message) <= MESSAGE_LENGTH:
        return {"error_message": f"Must have 1 to {MESSAGE_LENGTH} characters."}
    return {}
