"""What is wrong with a value: the first errors, by field, and how many there are."""

from typing import Any

import pytest
from marshmallow import Schema, ValidationError, fields, validate

from pisync.model.parsing.errors import (
    MAX_ERRORS,
    IncompleteErrors,
    InvalidValue,
    load,
    refusals,
)
from pisync.model.parsing.fields import ListOf


class Point(Schema):
    x = fields.Integer(required=True, strict=True)
    y = fields.Integer(required=True, strict=True)


class Path(Schema):
    name = fields.String()
    points = ListOf(fields.Nested(Point), validate.Length(1, 1000))


def refusal(value: Any) -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        load(Path(), value)
    return caught.value


def test_a_field_within_another_is_named_by_its_path() -> None:
    found = refusal({"name": 7, "points": [{"x": 1, "y": 2}, {"x": 1}]})
    assert found.errors == {
        "name": ["Not a valid string."],
        "points.1.y": ["Missing data for required field."],
    }
    assert found.count == 2
    assert found.is_complete


def test_what_is_wrong_with_all_of_it_is_named_body() -> None:
    assert refusal([]).errors == {"body": ["Invalid input type."]}


def test_of_many_errors_the_first_are_kept_and_all_are_counted() -> None:
    found = refusal({"points": [{}] * 1000})
    assert list(found.errors)[:3] == ["points.0.x", "points.0.y", "points.1.x"]
    assert len(found.errors) == MAX_ERRORS
    assert found.count == 2000


def test_a_list_that_is_too_long_is_refused_before_its_elements() -> None:
    found = refusal({"points": [{}] * 1001})
    assert (list(found.errors), found.count) == (["points"], 1)


def test_long_names_and_texts_are_cut() -> None:
    found = refusal({"n" * 10_000: 1, "näme" * 10_000: 1})
    assert all(len(name) <= 64 for name in found.errors)
    with pytest.raises(InvalidValue) as caught, refusals("field"):
        raise ValidationError("t" * 10_000)
    assert [len(text) for text in caught.value.errors["field"]] == [200]


def test_errors_of_what_was_not_read_to_its_end_are_marked() -> None:
    with pytest.raises(InvalidValue) as caught, refusals("points"):
        raise ValidationError(IncompleteErrors({7: ["Wrong."]}))
    assert caught.value.errors == {"points.7": ["Wrong."]}
    assert not caught.value.is_complete
