"""What Schemathesis must know of the service and can't read in its OpenAPI document."""

from typing import Any

import orjson
import schemathesis
from schemathesis import Case as AnyCase
from schemathesis import HookContext, Response
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import RejectedPositiveData

from pisync.model.plans.phases import MAX_PHASES

Case = AnyCase[Any]

BEYOND_JSON_SCHEMA = {
    # It can't compare two values with each other,
    "Must not be less than min.",
    "Must not be less than at_least.",
    "Must be after from.",
    "Must not be after repeat_every.",
    "Must not be after last_attempt_at.",
    "Must equal last_attempt_at, since the last attempt succeeded.",
    "Must not be relative, since last_attempt_at is not: a later reset would take it past that.",
    # nor know the calendar,
    "Not a timestamp in the form 2026-11-22T07:40:12.000000Z, now or now-2h (s, m, h, d or w).",
    "Must be at most 719162 days ago.",
    # nor look at an item's neighbours,
    "A device_id appears more than once.",
    "Only the last step may be sticky.",
    *(f"Overlaps phase {index}." for index in range(MAX_PHASES)),
    # nor count bytes,
    "Must be at most 72 bytes of UTF-8.",
    # nor know anybody's password,
    "Must be the account's current password.",
    # nor hold a body against a path,
    "Must be null: the fleet `default` stays.",
    "Must be another fleet.",
    # nor know for what a key was used before,
    "Was used for another path or body.",
    # nor know what time it is in a fleet.
    "Fleet time would pass the end of the year 9999.",
}
"""The refusals of what the document allows, because JSON Schema has no words for the rule."""

MANY_DEVICES = 10_000

schemathesis.serializer.alias("application/x-ndjson", "text/plain")


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Take no offence at a refusal that the document could not have told of.

    Nor at an answer to a query whose fault was an empty list or object, which no URL shows.
    """
    if isinstance(failure, AcceptedNegativeData):
        return not any(value in ([], {}) for value in (case.query or {}).values())
    if not isinstance(failure, RejectedPositiveData) or response.status_code not in (413, 422):
        return True
    if response.status_code == 413:
        return False  # JSON Schema can't add up the bytes of a list's elements
    errors = orjson.loads(response.content).get("errors", {})
    if errors and all(field.startswith("line ") for field in errors):
        return False  # nor look into a document of lines
    refusals = {text for texts in errors.values() for text in texts}
    return not refusals or not refusals <= BEYOND_JSON_SCHEMA


@schemathesis.hook
def map_case(context: HookContext, case: Case) -> Case:
    """Mend bodies before they are sent."""
    body = case.body = with_whole_numbers(case.body)
    match body:
        case {"devices": int(count)} if count > MANY_DEVICES:
            body["devices"] = MANY_DEVICES  # a later case may sync them all
    return case


def with_whole_numbers(value: Any) -> Any:
    """Write 1.0 as 1: the same number for JSON Schema, but no integer for the service."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: with_whole_numbers(each) for name, each in value.items()}
        case list():
            return [with_whole_numbers(each) for each in value]
        case _:
            return value
