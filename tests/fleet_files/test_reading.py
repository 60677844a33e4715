"""Fleet files: what is read from them, and every mistake with its place."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # has none

from pisync.fleet_files import reading
from pisync.fleet_files.formats import read_json, read_toml, read_yaml
from pisync.fleet_files.reading import InvalidFleetFiles, read_fleet_files
from pisync.model.clock import REAL, ClockSetting
from pisync.model.fleet import DeviceSpec, FleetDefinition, Generated, Listed
from pisync.model.outcome import SUCCEEDED
from pisync.model.plans.profile import Profile
from pisync.model.plans.script import Script, Step
from pisync.model.requests.fault import FaultRule, StatusFault
from pisync.model.timestamp import RelativeMoment, parse
from pisync.web.openapi.fleets_schema import fleets_schema
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/fleet-files.md").read_text()


def mistakes(path: Path) -> list[str]:
    with pytest.raises(InvalidFleetFiles) as refused:
        read_fleet_files(path)
    return [str(mistake).replace(str(path), path.name) for mistake in refused.value.mistakes]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fleets.yaml"


def test_a_fleet_is_read_with_its_clock_and_scripts(file: Path) -> None:
    file.write_text(
        "ci:\n"
        "  devices: 7\n"
        "  profile: {seed: 3, when_pending: refuse}\n"
        "  clock: {mode: real, speed: 10}\n"
        "  ttl: 600\n"
        "  journal: 50\n"
        "  faults: [{calls: [sync], first: 2, fault: {kind: status, status: 429}}]\n"
        "  scripts:\n"
        "    7: [{sync_status_code: 200, polls: 3}, {hold: true, sticky: true}]\n"
    )
    [ci] = read_fleet_files(file)
    assert ci.definition(seed=4) == FleetDefinition(
        "ci",
        Generated(7),
        Profile(3, refuse_pending=True),
        ClockSetting(10.0),
        {7: Script((Step(SUCCEEDED, polls=3), Step(None)), sticky=True)},
        600,
        50,
        (FaultRule(("sync",), StatusFault(429), first=2),),
    )


def test_a_fleet_without_a_clock_has_a_real_one(file: Path) -> None:
    file.write_text("ci: {devices: 1}")
    [ci] = read_fleet_files(file)
    assert ci.definition(seed=4).clock == REAL


def test_devices_may_be_listed(file: Path) -> None:
    file.write_text("ci:\n  devices:\n  - device_id: 2\n    last_sync_at: 2025-06-02T07:40:12Z\n")
    [ci] = read_fleet_files(file)
    at = parse("2025-06-02T07:40:12.000000Z")
    assert ci.values["devices"] == Listed([DeviceSpec(2, at)])


def test_times_of_listed_devices_may_be_relative(file: Path) -> None:
    file.write_text("ci:\n  devices:\n  - device_id: 2\n    last_sync_at: now-2h\n")
    [ci] = read_fleet_files(file)
    assert ci.values["devices"] == Listed([DeviceSpec(2, RelativeMoment(7200))])


def test_relative_times_that_cannot_be_are_told_with_their_line(file: Path) -> None:
    failed = "sync_status_code: 404\n    error_message: Server Not Reachable\n"
    file.write_text(
        "ci:\n  devices:\n"
        "  - device_id: 1\n    last_sync_at: now-2y\n"
        "  - device_id: 3\n    last_attempt_at: now-800000d\n"
        "shop:\n  devices:\n"
        f"  - device_id: 1\n    {failed}    last_sync_at: now-1h\n    last_attempt_at: now-2h\n"
    )
    assert mistakes(file) == [
        "fleets.yaml:4: ci.devices.0.last_sync_at: Not a timestamp in the form"
        " 2026-11-22T07:40:12.000000Z, now or now-2h (s, m, h, d or w).",
        "fleets.yaml:6: ci.devices.1.last_attempt_at: Must be at most 719162 days ago.",
        "fleets.yaml:12: shop.devices.0.last_sync_at: Must not be after last_attempt_at.",
    ]


def test_a_folder_stands_for_the_fleet_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("b: {devices: 1}")
    (tmp_path / "a.json").write_text('\ufeff{"$schema": "fleets.schema.json", "a": {"devices": 1}}')
    (tmp_path / "c.toml").write_text("[c]\ndevices = 1")
    (tmp_path / "README.md").write_text("not one")
    (tmp_path / "..data").mkdir()
    (tmp_path / ".hidden.yaml").write_text("- no fleets")
    assert [entry.name for entry in read_fleet_files(tmp_path)] == ["a", "b", "c"]


def test_no_two_files_have_the_same_fleet(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("ci: {devices: 1}")
    (tmp_path / "b.yaml").write_text("x: {devices: 1}\nci: {devices: 1}")
    assert mistakes(tmp_path) == [f"{tmp_path.name}/b.yaml:2: ci: Another file has it, too."]


def test_all_mistakes_are_told(file: Path) -> None:
    file.write_text(
        "ci:\n"
        "  devices: 20\n"
        "  profile:\n"
        "    seed: x\n"
        "    outcomes:\n"
        "    - {sync_status_code: 500, weight: 1}\n"
        "  clock: {mode: manual,\n"
        "    speed: 2}\n"
        "  scripts:\n"
        "    x: []\n"
        "    7:\n"
        "    - {hold: true, sticky: true}\n"
        "    - {hold: true}\n"
        "Shop: {devices: 1}\n"
        "shop: {device: 1}\n"
        "b: 7\n"
    )
    places = [line.partition(" ")[2].partition(":")[0] for line in mistakes(file)]
    lines = [line.partition(": ")[0] for line in mistakes(file)]
    assert list(zip(lines, places, strict=True)) == [
        ("fleets.yaml:4", "ci.profile.seed"),
        ("fleets.yaml:6", "ci.profile.outcomes.0.error_message"),
        ("fleets.yaml:8", "ci.clock.speed"),
        ("fleets.yaml:10", "ci.scripts.x"),
        ("fleets.yaml:12", "ci.scripts.7.0.sticky"),
        ("fleets.yaml:14", "Shop"),
        ("fleets.yaml:15", "shop.devices"),
        ("fleets.yaml:15", "shop.device"),
        ("fleets.yaml:16", "b"),
    ]


def test_a_script_needs_its_device(file: Path) -> None:
    file.write_text(
        "ci:\n  devices: 3\n  scripts: {4: [{hold: true}]}\n"
        "shop:\n  devices: [{device_id: 9}]\n  scripts: {9: [{hold: true}], 1: [{hold: true}]}\n"
    )
    assert mistakes(file) == [
        "fleets.yaml:3: ci.scripts.4: The fleet has no such device.",
        "fleets.yaml:6: shop.scripts.1: The fleet has no such device.",
    ]


def test_the_default_fleet_is_not_forgotten(file: Path) -> None:
    file.write_text("default:\n  devices: 3\n  ttl: 600\n")
    assert mistakes(file) == [
        "fleets.yaml:3: default.ttl: Must be null: the fleet `default` stays."
    ]


def test_of_very_many_mistakes_some_are_told(file: Path) -> None:
    file.write_text("ci: {devices: [" + "{}, " * 500 + "{}]}")
    told = mistakes(file)
    assert len(told) == 101
    assert told[-1] == "fleets.yaml: ci: 401 mistakes more."


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("fleets.yaml", b"- ci", "fleets.yaml: Must have fleets by name."),
        ("fleets.yaml", b"", "fleets.yaml: Must have fleets by name."),
        ("fleets.yaml", b"a: \xff", "fleets.yaml: It is not UTF-8 text."),
        ("fleets.ini", b"", "fleets.ini: Its name must end in .yaml, .yml, .json or .toml."),
        ("fleets.json", b'{"ci":\n', "fleets.json:2: Expecting value"),
    ],
)
def test_a_file_that_is_none_is_refused(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert mistakes(tmp_path / name) == [told]


def test_a_file_is_not_read_beyond_its_bound(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 1024 * 1024)
    file.write_text("ci: {devices: 1}" + " " * 1024 * 1024)
    assert mistakes(file) == ["fleets.yaml: It has more than 1 MiB."]


def test_there_must_be_a_file(tmp_path: Path) -> None:
    assert mistakes(tmp_path) == [f"{tmp_path.name}: There is no .yaml, .json or .toml file."]
    assert mistakes(tmp_path / "no.yaml") == ["no.yaml: No such file or directory"]


# The schema, and what reads the files


def errors_of(document: Any) -> list[str]:
    return [error.message for error in Draft202012Validator(fleets_schema()).iter_errors(document)]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(fleets_schema())


def documents() -> list[Any]:
    blocks = re.findall(
        r"^(?:cat > fleets.yaml <<'YAML'|```toml)\n(.*?)^(?:YAML|```)$",
        PAGE,
        re.MULTILINE | re.DOTALL,
    )
    example = (ROOT / "docker/fleets.example.yaml").read_text()
    assert len(blocks) == 2
    return [
        read_yaml(blocks[0]).value,
        read_toml(blocks[1]).value,
        read_yaml(example).value,
        read_json('{"$schema": "x", "a": {"devices": 0, "scripts": {}}}').value,
    ]


@pytest.mark.parametrize("document", documents())
def test_the_schema_takes_the_examples(document: Any, tmp_path: Path) -> None:
    assert errors_of(document) == []
    path = tmp_path / "fleets.json"
    path.write_text(json.dumps(document))
    assert read_fleet_files(path)


@pytest.mark.parametrize(
    "fleet",
    [
        7,
        {},
        {"device": 1},
        {"devices": -1},
        {"devices": 1.5},
        {"devices": "10"},
        {"devices": [{}]},
        {"devices": [{"device_id": 0}]},
        {"devices": [{"device_id": 1, "sync_status_code": 202}]},
        {"devices": [{"device_id": 1, "sync_status_code": 400}]},
        {"devices": [{"device_id": 1, "last_sync_at": "yesterday"}]},
        {"devices": 1, "profile": {"seed": -1}},
        {"devices": 1, "profile": {"outcomes": []}},
        {"devices": 1, "profile": {"outcomes": [{"sync_status_code": 200, "weight": 0}]}},
        {"devices": 1, "profile": {"outcomes": [{"sync_status_code": 200, "weight": -1}]}},
        {"devices": 1, "profile": {"delay": {"distribution": "constant"}}},
        {"devices": 1, "profile": {"delay": {"distribution": "normal", "seconds": 1}}},
        {"devices": 1, "profile": {"when_pending": "wait"}},
        {"devices": 1, "clock": {"mode": "manual", "speed": 2}},
        {"devices": 1, "clock": {"mode": "real", "speed": 0}},
        {"devices": 1, "clock": {}},
        {"devices": 1, "scripts": {"x": [{"hold": True}]}},
        {"devices": 1, "scripts": {"1": []}},
        {"devices": 1, "scripts": {"1": [{"hold": True, "delay": 1}]}},
        {"devices": 1, "scripts": [{"hold": True}]},
        {"devices": 1, "journal": -1},
        {"devices": 1, "ttl": 1},
        {"devices": 1, "faults": [{"calls": ["sync"], "fault": {"kind": "fire"}}]},
    ],
)
def test_what_the_check_refuses_the_schema_refuses(fleet: Any, tmp_path: Path) -> None:
    path = tmp_path / "fleets.json"
    path.write_text(json.dumps({"ci": fleet}))
    assert mistakes(path)
    assert errors_of({"ci": fleet})


def test_both_refuse_a_name_that_no_fleet_can_have(tmp_path: Path) -> None:
    path = tmp_path / "fleets.json"
    path.write_text('{"Ci": {"devices": 1}}')
    assert mistakes(path) == ["fleets.json:1: Ci: Not the name of a fleet."]
    assert errors_of({"Ci": {"devices": 1}})
