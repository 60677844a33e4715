"""Documents in YAML, JSON and TOML: their value, and the line on which each part of it stands."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from functools import partial
from typing import Any, NamedTuple

import yaml

MAX_NODES = 5_000_000
"""Keys and values of a YAML document, counted once for each place that an alias puts them."""
MAX_DEPTH = 100
"""How deeply lists and objects of a YAML document may nest."""

_STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(-?Infinity|NaN)')

KeyPath = Sequence[str]
"""The keys and positions that lead from a document to a part of it."""


class NotADocument(Exception):
    """A text is not what its format demands.

    Attributes:
        line: Where it is not, from 1; None if that is not known.
    """

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


class _RepeatedKey(Exception):
    """An object of a JSON document has a key twice."""


class Document(NamedTuple):
    """A document.

    Attributes:
        value: What it says, in what JSON has.
        line_of: Returns the line, from 1, of the last part on a path that the document has; None
            if that is not known.
    """

    value: Any
    line_of: Callable[[KeyPath], int | None]


def read_json(text: str) -> Document:
    """Read a JSON document, in which no key may come twice.

    Raises:
        NotADocument: It is not JSON.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=partial(_refuse_constant, text)
        )
    except _RepeatedKey as exc:
        raise NotADocument(str(exc), _line_of_repetition(text)) from None
    except json.JSONDecodeError as exc:
        raise NotADocument(exc.msg, exc.lineno) from None
    except (ValueError, RecursionError) as exc:
        raise NotADocument(f"Not JSON: {exc}") from None
    return Document(value, partial(_line_in_json, text))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _RepeatedKey(_repeated(counts.most_common(1)[0][0]))
    return found


def _repeated(name: str) -> str:
    return f"The key {json.dumps(name)} appears more than once."


def _refuse_constant(text: str, name: str) -> None:
    places = (token.start() for token in _STRING_OR_CONSTANT.finditer(text) if token[1])
    raise NotADocument(f"{name} is not JSON.", text.count("\n", 0, next(places)) + 1)


def _line_of_repetition(text: str) -> int | None:
    """Return the line of the first key that stands in its object already."""
    nodes = [_nodes_of(text)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            keys = set[str]()
            for key, _ in node.value:
                if key.value in keys:
                    return int(key.start_mark.line) + 1
                keys.add(key.value)
            nodes.extend(value for _, value in reversed(node.value))
        elif isinstance(node, yaml.SequenceNode):
            nodes.extend(reversed(node.value))
    return None


def _line_in_json(text: str, path: KeyPath) -> int | None:
    return _line_of_node(_nodes_of(text), path)


def _nodes_of(text: str) -> yaml.Node | None:
    """Return a JSON document as nodes, which know their lines; None if that can't be done."""
    # JSON is YAML, but for tabs and for halves of characters.
    likened = re.sub(r"\\u[0-9a-fA-F]{4}", "______", text.replace("\t", " "))
    try:
        _refuse_depth(likened)
        return yaml.compose(likened, _Loader)
    except (yaml.YAMLError, NotADocument):
        return None


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # ten times as fast, where there is one
    """Loads what JSON has: YAML 1.2's core schema, in which dates and `on` are texts."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first)
    )


def _construct_int(_: _Loader, node: yaml.ScalarNode) -> int:
    # PyYAML's own takes a leading zero for octal.
    try:
        return int(node.value)
    except ValueError:
        raise NotADocument("The number is too long.", node.start_mark.line + 1) from None


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> Any:
    keys = set[str]()
    for key, _ in node.value:
        name = _key_of(key)
        if name in keys:
            raise NotADocument(_repeated(name), key.start_mark.line + 1)
        keys.add(name)
    loader.flatten_mapping(node)
    return {_key_of(key): loader.construct_object(value, deep=True) for key, value in node.value}


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def _key_of(node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise NotADocument("A key must be a text or a number.", node.start_mark.line + 1)
    return str(node.value)


def read_yaml(text: str) -> Document:
    """Read a YAML document of YAML 1.2's core schema, in which no key may come twice.

    Raises:
        NotADocument: It is not YAML, or its aliases make it huge.
    """
    loader = _Loader(text)
    try:
        _refuse_depth(text)
        node = loader.get_single_node()
        _refuse_expansion(node)
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise NotADocument(exc.problem or "Not YAML.", mark.line + 1 if mark else None) from None
    except yaml.YAMLError as exc:
        raise NotADocument(f"Not YAML: {exc}") from None
    finally:
        loader.dispose()
    return Document(value, partial(_line_of_node, node))


def _refuse_depth(text: str) -> None:
    """Look how deeply a text nests, since libyaml's stack ends with the process.

    Raises:
        NotADocument: It nests too deeply.
    """
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else None
            raise NotADocument("It nests too deeply.", line)


def _refuse_expansion(root: yaml.Node | None) -> None:
    """Count the nodes as often as aliases repeat them: a few lines can stand for billions.

    Raises:
        NotADocument: There are more than `MAX_NODES`.
    """
    nodes, count = [root] if root else [], 0
    while nodes:
        node = nodes.pop()
        count += 1
        if count > MAX_NODES:
            raise NotADocument(f"Has more than {MAX_NODES} parts, or an alias within itself.")
        if isinstance(node, yaml.SequenceNode):
            nodes.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            nodes.extend(value for _, value in node.value)


def _line_of_node(node: yaml.Node | None, path: KeyPath) -> int | None:
    if node is None:
        return None
    line = node.start_mark.line
    for name in path:
        if isinstance(node, yaml.MappingNode):
            # The last of equal keys: a merge puts the merged ones in front.
            found = [(key, value) for key, value in node.value if key.value == name]
            if not found:
                break
            key, node = found[-1]
            line = key.start_mark.line
        elif isinstance(node, yaml.SequenceNode) and name.isdecimal():
            node = node.value[int(name)]
            line = node.start_mark.line
        else:
            break
    return int(line) + 1


def read_toml(text: str) -> Document:
    """Read a TOML document.

    Raises:
        NotADocument: It is not TOML.
    """
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        message, _, place = str(exc).rpartition(" (at ")
        line = re.match(r"line (\d+)", place)
        raise NotADocument(message or str(exc), int(line[1]) if line else None) from None
    except (ValueError, RecursionError) as exc:
        raise NotADocument(f"Not TOML: {exc}") from None
    return Document(_like_json(value), partial(_line_in_toml, text))


def _like_json(value: Any) -> Any:
    match value:
        case dict():
            return {key: _like_json(member) for key, member in value.items()}
        case list():
            return [_like_json(element) for element in value]
        case datetime() | date() | time():
            return value.isoformat()
    return value


def _line_in_toml(text: str, path: KeyPath) -> int | None:
    """Find the shortest beginning that has as much of the path: the library has no marks."""
    lines = text.splitlines(keepends=True)
    length = _length_in(tomllib.loads(text), path)
    low, high = 0, len(lines)
    # Of the beginnings of a document, those that have a part of it are the longer ones.
    while low < high:
        middle = (low + high) // 2
        end, value = _beginning(lines, middle)
        if _length_in(value, path) >= length:
            high = end
        else:
            low = middle + 1
    return max(low, 1)


def _beginning(lines: Sequence[str], count: int) -> tuple[int, Mapping[str, Any]]:
    """Return the longest document in the first `count` lines, and how many lines it has."""
    for end in range(count, 0, -1):
        try:
            return end, tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue
    return 0, {}


def _length_in(value: Any, path: KeyPath) -> int:
    """Return how many parts of a path a value has."""
    for length, name in enumerate(path):
        if isinstance(value, Mapping) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return length
    return len(path)
