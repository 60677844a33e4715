"""YAML, JSON and TOML: their values, and the lines on which they stand."""

from collections.abc import Callable

import pytest

from pisync.fleet_files.formats import (
    MAX_NODES,
    Document,
    NotADocument,
    read_json,
    read_toml,
    read_yaml,
)

YAML = """\
# a comment
a:
  devices: 3
  scripts:
    7:
      - {hold: true}
      -
        sync_status_code: 500
b: {devices: 4}
"""
JSON = """\
{
\t"a": {"devices": 3,
\t\t"scripts": {
\t\t\t"7": [
\t\t\t\t{"hold": true},
\t\t\t\t{"sync_status_code":
\t\t\t\t\t500}]}},
\t"b": {"text": "\\ud83d\\ude00", "devices":
4}
}
"""
TOML = """\
[a]
devices = 3
[a.scripts]
7 = [
  { hold = true },
  { sync_status_code = 500 },
]

[b]
text = '''
[b]
devices = 5
'''
devices = 4
"""


@pytest.mark.parametrize(
    ("read", "text", "lines"),
    [
        (
            read_yaml,
            YAML,
            {"a": 2, "a.devices": 3, "a.scripts.7": 5, "a.scripts.7.1": 8, "b.devices": 9},
        ),
        (
            read_json,
            JSON,
            {"a": 2, "a.devices": 2, "a.scripts.7": 4, "a.scripts.7.1": 6, "b.devices": 8},
        ),
        # An array counts as a whole, since only then it is TOML.
        (read_toml, TOML, {"a": 1, "a.devices": 2, "a.scripts.7.1": 7, "b": 9, "b.devices": 14}),
    ],
)
def test_a_part_stands_on_its_line(
    read: Callable[[str], Document], text: str, lines: dict[str, int]
) -> None:
    document = read(text)
    assert {path: document.line_of(path.split(".")) for path in lines} == lines


@pytest.mark.parametrize(
    ("read", "text"), [(read_yaml, YAML), (read_json, JSON), (read_toml, TOML)]
)
def test_of_what_is_missing_the_line_is_that_of_what_lacks_it(
    read: Callable[[str], Document], text: str
) -> None:
    document = read(text)
    assert document.line_of(["a", "profile"]) == document.line_of(["a"])


def test_formats_mean_the_same() -> None:
    a = {"devices": 3, "scripts": {"7": [{"hold": True}, {"sync_status_code": 500}]}}
    assert (
        read_yaml(YAML).value["a"] == read_json(JSON).value["a"] == read_toml(TOML).value["a"] == a
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("Off", "Off"),
        ("2025-06-02", "2025-06-02"),
        ("2025-06-02T07:40:12Z", "2025-06-02T07:40:12Z"),
        ("1:30", "1:30"),
        ("007", 7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("0x1F", "0x1F"),
        ("True", True),
        ("~", None),
        ("", None),
        ("nullify", "nullify"),
        ("'7'", "7"),
    ],
)
def test_yaml_is_read_by_the_core_schema_of_1_2(text: str, value: object) -> None:
    read = read_yaml(f"value: {text}").value["value"]
    assert (read, type(read)) == (value, type(value))


def test_yaml_merges_and_what_stands_beside_wins() -> None:
    document = read_yaml(
        "a: &base {devices: 3, profile: {seed: 1}}\nb:\n  <<: *base\n  devices: 4\n"
    )
    assert document.value["b"] == {"devices": 4, "profile": {"seed": 1}}
    assert document.line_of(["b", "devices"]) == 4


def test_toml_times_are_texts() -> None:
    value = read_toml("a = 2025-06-02T07:40:12Z\nb = 2025-06-02\n").value
    assert value == {"a": "2025-06-02T07:40:12+00:00", "b": "2025-06-02"}


@pytest.mark.parametrize(
    ("read", "text", "line", "message"),
    [
        (read_yaml, "a: 1\nb: 2\na: 3\n", 3, "more than once"),
        (read_json, '{"a": 1,\n"a": 2}', 2, "more than once"),
        (read_json, '[1,\n{"a": [{"b": 1,\n"c": "\\t\\"",\n"b": 2}]}]', 4, "more than once"),
        (read_toml, "a = 1\na = 2\n", 2, "overwrite"),
        (read_yaml, "a: [1\nb: 2\n", 2, "did not find"),
        (read_yaml, "a: 1\n--- \nb: 2\n", 2, "another document"),
        (read_yaml, "? [a]\n: 1\n", 1, "A key must be"),
        (
            read_yaml,
            "a: !!python/object/apply:os.system [id]\n",
            1,
            "could not determine a constructor",
        ),
        (read_yaml, "a: *b\n", 1, "undefined alias"),
        (read_yaml, "a: &a [*a]\n", None, "an alias within itself"),
        (read_json, '{"a":\n1,}', 2, "property name"),
        (read_json, '{"a": NaN}', 1, "NaN"),
        (read_json, '{"NaN": "\\" NaN",\n"a": -Infinity}', 2, "-Infinity"),
        (read_json, "9" * 5000, None, "Not JSON"),
        (read_yaml, f"a: {'9' * 5000}", 1, "too long"),
        (read_json, "[" * 100_000, None, "recursion"),
        (read_yaml, "[\n" * 100_000, 101, "nests too deeply"),
        (read_toml, "a = \n", 1, "Invalid value"),
    ],
)
def test_what_is_no_document_is_refused_with_its_line(
    read: Callable[[str], Document], text: str, line: int | None, message: str
) -> None:
    with pytest.raises(NotADocument, match=message) as refused:
        read(text)
    assert refused.value.line == line


def test_aliases_can_not_stand_for_billions() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(NotADocument, match=str(MAX_NODES)):
        read_yaml("\n".join(lines))
