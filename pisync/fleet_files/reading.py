"""Read fleet files: a file, or a folder of them, with all that is wrong in them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from marshmallow import ValidationError

from pisync.fleet_files.formats import Document, NotADocument, read_json, read_toml, read_yaml
from pisync.fleet_files.schema import SCHEMA_KEY, FleetDefinitionSchema
from pisync.model.clock import REAL
from pisync.model.fleet import DEFAULT_FLEET, FLEET_NAME, FirstData, FleetDefinition
from pisync.model.parsing.errors import flattened
from pisync.model.plans.profile import new_profile

MAX_BYTES = 16 * 1024 * 1024
"""The size of a file."""
MAX_MISTAKES = 100
"""Mistakes of a fleet that are reported."""

_FORMATS = {".yaml": read_yaml, ".yml": read_yaml, ".json": read_json, ".toml": read_toml}
_SCHEMA = FleetDefinitionSchema()


class FleetEntry(NamedTuple):
    """A fleet of a file.

    Attributes:
        name: The fleet's name.
        body: What the file has for it, as JSON.
        values: What `FleetDefinitionSchema` makes of that.
    """

    name: str
    body: Mapping[str, Any]
    values: Mapping[str, Any]

    @property
    def size(self) -> int:
        """How many devices it has."""
        first: FirstData = self.values["devices"]
        return first.size

    def definition(self, seed: int) -> FleetDefinition:
        """Return the fleet to make; `seed` is for a profile without one."""
        return FleetDefinition(
            self.name,
            self.values["devices"],
            new_profile(self.values["profile"], seed),
            self.values.get("clock", REAL),
            self.values["scripts"],
            self.values["ttl"],
            self.values.get("journal"),
            self.values["faults"],
        )


class Mistake(NamedTuple):
    """What is wrong, where in a file.

    Attributes:
        file: The file.
        line: The line, from 1; None if it is the file as a whole.
        field: The path to the value, such as `ci.profile.delay.max`; empty for the document.
        text: What is wrong with it.
    """

    file: Path
    line: int | None
    field: str
    text: str

    def __str__(self) -> str:
        """Write it as compilers do: `fleets.yaml:12: ci.profile.seed: Not a valid integer.`."""
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return ": ".join(part for part in (place, self.field, self.text) if part)


class InvalidFleetFiles(Exception):
    """Fleet files can't be used; `mistakes` has all that is wrong."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes


def read_fleet_files(path: Path) -> list[FleetEntry]:
    """Return the fleets of a file, or of all fleet files in a folder, by name of the file.

    Raises:
        InvalidFleetFiles: Something is wrong with them.
    """
    entries, mistakes = dict[str, FleetEntry](), list[Mistake]()
    try:
        files = list(_files(path))
    except OSError as exc:
        raise InvalidFleetFiles([Mistake(path, None, "", str(exc.strerror))]) from None
    if not files:
        raise InvalidFleetFiles(
            [Mistake(path, None, "", "There is no .yaml, .json or .toml file.")]
        )
    for file in files:
        try:
            document = _read(file)
            for found in _entries(file, document):
                if isinstance(found, Mistake):
                    mistakes.append(found)
                elif found.name in entries:
                    line = document.line_of([found.name])
                    mistakes.append(Mistake(file, line, found.name, "Another file has it, too."))
                else:
                    entries[found.name] = found
        except NotADocument as exc:
            mistakes.append(Mistake(file, exc.line, "", str(exc)))
    if mistakes:
        raise InvalidFleetFiles(mistakes)
    return list(entries.values())


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.iterdir()):
        # A mounted ConfigMap has hidden folders beside the links to its files.
        if file.suffix in _FORMATS and not file.name.startswith(".") and file.is_file():
            yield file


def _read(file: Path) -> Document:
    read = _FORMATS.get(file.suffix)
    if read is None:
        raise NotADocument("Its name must end in .yaml, .yml, .json or .toml.")
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise NotADocument(f"It has more than {MAX_BYTES // 1024 // 1024} MiB.")
        return read(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise NotADocument("It is not UTF-8 text.") from None
    except OSError as exc:
        raise NotADocument(str(exc.strerror)) from None


def _entries(file: Path, document: Document) -> Iterator[FleetEntry | Mistake]:
    if not isinstance(document.value, dict):
        yield Mistake(file, None, "", "Must have fleets by name.")
        return
    for name, body in document.value.items():
        if name == SCHEMA_KEY:
            continue
        if not re.fullmatch(FLEET_NAME, name):
            yield Mistake(file, document.line_of([name]), name, "Not the name of a fleet.")
            continue
        try:
            values = _SCHEMA.load(body)
        except ValidationError as exc:
            errors = list(flattened(exc.messages))
            found = [
                Mistake(file, document.line_of([name, *path]), ".".join([name, *path]), text)
                for path, texts in errors[:MAX_MISTAKES]
                for text in texts
            ]
            yield from sorted(found, key=lambda mistake: mistake.line or 0)
            if len(errors) > MAX_MISTAKES:
                yield Mistake(file, None, name, f"{len(errors) - MAX_MISTAKES} mistakes more.")
        else:
            if name == DEFAULT_FLEET and values["ttl"] is not None:
                text = "Must be null: the fleet `default` stays."
                yield Mistake(file, document.line_of([name, "ttl"]), f"{name}.ttl", text)
            yield FleetEntry(name, body, values)
