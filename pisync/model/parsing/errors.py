"""Load values by schemas, and report errors by field, in bounded space.

Every schema goes through `load`. However much is wrong with a value, no more is kept of it than the
first `MAX_ERRORS` fields, with shortened names and texts, and the number of all.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from marshmallow import Schema, ValidationError

MAX_ERRORS = 20
MAX_NAME = 64
"""Characters of a field's name that an error shows; names may come from the client."""
MAX_TEXT = 200
"""Characters of an error's text."""


_FieldErrors = tuple[tuple[str, ...], list[str]]


class IncompleteErrors(dict[Any, Any]):
    """The errors of a list that was read no further than to these."""


class InvalidValue(Exception):
    """A value that its schema refuses.

    `errors` has the first texts, by field; a field within another is named by its path:
    `profile.delay.max`. `count` says how many fields are at fault, at least if not `is_complete`.
    """

    def __init__(
        self, errors: Mapping[str, Sequence[str]], count: int, *, is_complete: bool = True
    ) -> None:
        super().__init__(f"{count} fields are not valid")
        self.errors = errors
        self.count = count
        self.is_complete = is_complete


def load(schema: Schema, value: object) -> Any:
    """Return what `schema` makes of a value.

    Raises:
        InvalidValue: The schema refuses the value.
    """
    with refusals():
        # marshmallow's types speak of mappings alone; it takes lists for `many`.
        return schema.load(value)  # type: ignore[arg-type]


def load_each(load: Callable[..., Any], values: Sequence[Any]) -> list[Any]:
    """Return what a schema's own `load` makes of each of these values.

    Once a field of any value is wrong, marshmallow's `many` no longer checks of the others whether
    their fields agree. So each is then loaded by itself, and all that is wrong is found.

    Raises:
        ValidationError: Values are not valid; its messages are by index.
    """
    try:
        return list(load(values, many=True))
    except ValidationError:
        errors = dict[int, Any]()
        for index, value in enumerate(values):
            try:
                load(value)
            except ValidationError as exc:
                errors[index] = exc.messages
        raise ValidationError(errors) from None


@contextmanager
def refusals(name: str = "_schema") -> Iterator[None]:
    """Turn marshmallow's errors, which are about the member `name` if given, into InvalidValue.

    Raises:
        InvalidValue: The block has raised a ValidationError.
    """
    try:
        yield
    except ValidationError as exc:
        raise _invalid_value({name: exc.messages}) from None


def _invalid_value(messages: object) -> InvalidValue:
    errors: dict[str, list[str]] = {}
    count = 0
    for path, texts in flattened(messages):
        count += 1
        if count <= MAX_ERRORS:
            name = _cut(".".join(_cut(part, MAX_NAME) for part in path), 2 * MAX_NAME)
            errors.setdefault(name or "body", []).extend(_cut(text, MAX_TEXT) for text in texts)
    return InvalidValue(errors, count, is_complete=not _is_incomplete(messages))


def flattened(messages: object, path: tuple[str, ...] = ()) -> Iterator[_FieldErrors]:
    """Yield the path and the texts of each field in marshmallow's nested messages."""
    if isinstance(messages, Mapping):
        for name, nested in messages.items():
            yield from flattened(nested, path if name == "_schema" else (*path, str(name)))
    else:
        yield path, [str(text) for text in (messages if isinstance(messages, list) else [messages])]


def _is_incomplete(messages: object) -> bool:
    return isinstance(messages, IncompleteErrors) or (
        isinstance(messages, Mapping) and any(map(_is_incomplete, messages.values()))
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
