"""marshmallow fields that are as strict as the contract."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from marshmallow import Schema, ValidationError, fields, validate

from pisync.model import timestamp
from pisync.model.device import MAX_DEVICE_ID
from pisync.model.outcome import STATUS_CODES
from pisync.model.timestamp import Moment

_DIGITS = re.compile(r"0|[1-9][0-9]{0,15}")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,3})?")


def whole_number(value: object) -> int | None:
    """Return a JSON number whose value is whole (`7`, `7.0`, `7e0`) as an integer, else None."""
    if type(value) is int:
        return value
    return int(value) if type(value) is float and value.is_integer() else None


class Int(fields.Integer):
    """A JSON number whose value is whole: no string, no boolean."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        number = whole_number(value)
        if number is None:
            raise self.make_error("invalid", input=value)
        return number


class QueryInt(fields.Integer):
    """ASCII digits without a leading zero, sign or space."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if not _DIGITS.fullmatch(value):
            raise self.make_error("invalid", input=value)
        return int(value)


class QueryNumber(fields.Float):
    """A number as JSON has it (RFC 8259, section 6), without a sign."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> float:
        if not _DECIMAL.fullmatch(value):
            raise self.make_error("invalid", input=value)
        return float(value)


class Number(fields.Float):
    """A finite JSON number: no string, no boolean."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> float:
        if type(value) not in (int, float) or not math.isfinite(value):
            raise self.make_error("invalid", input=value)
        return float(value)


class Flag(fields.Boolean):
    """A JSON boolean."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> bool:
        if type(value) is not bool:
            raise self.make_error("invalid", input=value)
        return value


class Text(fields.String):
    """A string without NUL, which some databases can't keep."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, *args, **kwargs)
        if "\0" in text:
            raise ValidationError("Must not contain NUL.")
        return text


class Timestamp(fields.Field[int]):
    """A timestamp as answers have it, as fleet time in microseconds."""

    def _serialize(self, value: int | None, *args: Any, **kwargs: Any) -> str | None:
        return None if value is None else timestamp.render(value)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if not isinstance(value, str):
            raise ValidationError("Not a valid timestamp.")
        try:
            return timestamp.parse(value)
        except ValueError:
            raise ValidationError(
                "Not a timestamp in the form 2026-11-22T07:40:12.000000Z."
            ) from None


class SentTimestamp(Timestamp):
    """A timestamp as clients may send it: in any form that RFC 3339 has."""


class SentMoment(fields.Field[Moment]):
    """A timestamp as clients may send it, or one that is relative to the present: `now-2h`."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Moment:
        if not isinstance(value, str):
            raise ValidationError("Not a valid timestamp.")
        try:
            if value.startswith("now"):
                return timestamp.parse_relative(value)
            return timestamp.parse(value)
        except ValueError:
            raise ValidationError(
                "Not a timestamp in the form 2026-11-22T07:40:12.000000Z, now or now-2h"
                " (s, m, h, d or w)."
            ) from None
        except OverflowError:
            raise ValidationError(f"Must be at most {timestamp.MAX_AGE_DAYS} days ago.") from None


class ListOf(fields.List[Any]):
    """A list of so many elements, whose length is checked before its elements.

    Every list in a schema is one of these, or checks its length itself, so that a list never costs
    more than its longest.
    """

    def __init__(self, element: fields.Field[Any], length: validate.Length, **kwargs: Any) -> None:
        super().__init__(element, validate=length, **kwargs)
        self.length = length

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if type(value) is not list:
            raise ValidationError("Not a valid list.")
        self.length(value)
        return super()._deserialize(value, *args, **kwargs)


class DeviceIds(fields.Field[list[int]]):
    """A list of at most `max` device ids, checked without a field object for each."""

    def __init__(self, max: int, **kwargs: Any) -> None:  # noqa: A002 - as in `ListOf`
        super().__init__(**kwargs)
        self.max = max

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[int]:
        if type(value) is not list:
            raise ValidationError("Not a valid list.")
        if len(value) > self.max:
            raise ValidationError(f"Must have at most {self.max} ids.")
        ids = [element if type(element) is int else whole_number(element) for element in value]
        wrong = {
            index: [f"Must be an integer from 1 to {MAX_DEVICE_ID}."]
            for index, device_id in enumerate(ids)
            if device_id is None or not 1 <= device_id <= MAX_DEVICE_ID
        }
        if wrong:
            raise ValidationError(wrong)
        return cast("list[int]", ids)


class Statuses(fields.Field[frozenset[int]]):
    """A list of status codes: of devices, unless `codes` says otherwise."""

    def __init__(self, codes: Sequence[int] = STATUS_CODES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.codes = codes

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> frozenset[int]:
        if type(value) is not list:
            raise ValidationError("Not a valid list.")
        codes = frozenset(map(whole_number, value))
        if not codes <= set(self.codes):
            raise ValidationError(f"Each must be one of: {', '.join(map(str, self.codes))}.")
        return cast("frozenset[int]", codes)


class QueryList(fields.Field[Any]):
    """A list in a query: by commas, by repetition, or both; one text with commas as it gets here.

    Every list in a query is one of these.
    """


class QueryStatuses(QueryList, Statuses):
    """Status codes, separated by commas."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> frozenset[int]:
        by_text = {str(code): code for code in self.codes}
        codes = [by_text.get(code) for code in value.split(",")]
        return super()._deserialize(codes, *args, **kwargs)


class OneOf(fields.Field[Any]):
    """An object whose member `tag` says which of several schemas it follows.

    `title` names what they have in common.
    """

    def __init__(
        self, title: str, tag: str, schemas: Mapping[str, type[Schema]], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.title = title
        self.tag = tag
        self.schemas = {name: schema() for name, schema in schemas.items()}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if type(value) is not dict:
            raise ValidationError("Not an object.")
        name = value.get(self.tag)
        if not isinstance(name, str) or name not in self.schemas:
            raise ValidationError({self.tag: [f"Must be one of: {', '.join(self.schemas)}."]})
        return self.schemas[name].load(value)
