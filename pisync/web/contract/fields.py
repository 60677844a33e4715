"""marshmallow fields that take what the contract names, and nothing that merely resembles it."""

import math
import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields

from pisync.model import timestamp
from pisync.model.device import MAX_DEVICE_ID
from pisync.model.outcome import STATUS_CODES

_DIGITS = re.compile(r"[0-9]{1,16}")
_CODES = {str(code): code for code in STATUS_CODES}


class Int(fields.Integer):
    """A JSON integer: no string, no boolean, no 1.0."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid", input=value)
        return value


class QueryInt(fields.Integer):
    """ASCII digits."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if not _DIGITS.fullmatch(value):
            raise self.make_error("invalid", input=value)
        return int(value)


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
    """A timestamp in the one form, as fleet time in microseconds."""

    def _serialize(self, value: int | None, *args: Any, **kwargs: Any) -> str | None:
        return None if value is None else timestamp.render(value)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        if not isinstance(value, str):
            raise ValidationError("Not a valid timestamp.")
        try:
            return timestamp.parse(value)
        except ValueError:
            raise ValidationError(
                "Not a timestamp of the form yyyy-MM-ddTHH:mm:ss.mmmuuuZ."
            ) from None


class DeviceIds(fields.Field[list[int]]):
    """A list of at most `most` device ids, checked without a field object for each."""

    def __init__(self, most: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.most = most

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[int]:
        if type(value) is not list:
            raise ValidationError("Not a valid list.")
        if len(value) > self.most:
            raise ValidationError(f"At most {self.most} ids.")
        for place, each in enumerate(value):
            if type(each) is not int or not 1 <= each <= MAX_DEVICE_ID:
                raise ValidationError({place: ["Not a device id."]})
        return value


class Statuses(fields.Field[frozenset[int]]):
    """A list of status codes of devices."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> frozenset[int]:
        if type(value) is not list:
            raise ValidationError("Not a list of status codes.")
        if any(type(each) is not int or each not in STATUS_CODES for each in value):
            raise ValidationError(f"Each must be one of: {', '.join(_CODES)}.")
        return frozenset(value)


class QueryStatuses(Statuses):
    """Status codes of devices, separated by commas."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> frozenset[int]:
        codes = [_CODES.get(each) for each in value.split(",")]
        return super()._deserialize(codes, *args, **kwargs)


class OneOf(fields.Field[Any]):
    """An object whose member `tag` says which of several schemas it follows."""

    def __init__(self, tag: str, schemas: Mapping[str, type[Schema]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tag = tag
        self.schemas = {name: schema() for name, schema in schemas.items()}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if type(value) is not dict:
            raise ValidationError("Not an object.")
        chosen = value.get(self.tag)
        if not isinstance(chosen, str) or chosen not in self.schemas:
            raise ValidationError({self.tag: [f"Must be one of: {', '.join(self.schemas)}."]})
        return self.schemas[chosen].load(value)
