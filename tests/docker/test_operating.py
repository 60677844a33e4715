"""What operators read: metrics, events, alerts, the dashboard: each against the truth."""

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeApi
from tests.support import engine
from tests.support.paths import ROOT

PAGE = (ROOT / "docs/metrics.md").read_text()
DASHBOARD = json.loads((ROOT / "docker/grafana/pisync.json").read_text())
ALERTS = dict(
    re.findall(
        r"- alert: (\S+)\n(?: +#.*\n)* +expr: (.+)", (ROOT / "docker/alerts.yml").read_text()
    )
)
LEVELS = {"debug": "debug", "info": "info", "warning": "warning", "error": "error"} | {
    "exception": "error",
    "critical": "critical",
}
# Functions that take an event's name and log it at info; what they do with it is theirs.
LOGGERS = {
    "get_event_logger": "pisync.telemetry.logs",
    "_audit": "pisync.web.handlers.admin_accounts",
}
# Takes the names of an outage's begin and end, and logs the one as an error, the other at info.
OUTAGE = ("Outage", "pisync.telemetry.outage")


def rows(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without the backticks."""
    section = re.split(r"^## ", PAGE.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]
    table = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)[2:]
    return [[cell.strip().replace("`", "") for cell in row.split(" | ")] for row in table]


def documented() -> Mapping[str, tuple[str, set[str]]]:
    return {
        name: (kind, set(filter(None, labels.split(", "))))
        for name, kind, labels, _ in rows("Metrics")
    }


async def shown(make_api: MakeApi) -> Mapping[str, tuple[str, set[str]]]:
    """What /metrics has, after a little of everything: type and labels by name."""
    api = await make_api()
    user = api.as_("devices")
    await user.post("/devices/1/sync")
    await api.post("/login", json={"username": "nobody", "password": "not the password"})
    text = (await api.get("/metrics")).body.decode()
    found = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        if name.endswith("_created"):
            continue
        samples = re.findall(rf"^{name}(?:_bucket)?(?:{{(.*)}})? \S+$", text, re.MULTILINE)
        labels = {label for each in samples for label in re.findall(r'(\w+)="', each)}
        found[name] = (kind, labels - {"le"})
    return found


async def test_the_page_has_every_metric_with_its_type_and_labels(make_api: MakeApi) -> None:
    assert documented() == await shown(make_api)


async def test_the_gauge_of_streams_counts_them(make_api: MakeApi) -> None:
    user = (await make_api()).as_("devices")

    async def gauge() -> str:
        text = (await user.get("/metrics")).body.decode()
        (count,) = re.findall(r"^pisync_event_streams (\S+)$", text, re.MULTILINE)
        return str(count)

    assert await gauge() == "0.0"
    headers = {"Authorization": f"Bearer {user.token}"}
    async with user.client.get("/events", headers=headers):
        assert await gauge() == "1.0"


def events(module: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The name and level of each event that a module logs."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == OUTAGE[0]:
            for argument, level in zip(node.args[:2], ("error", "info"), strict=True):
                assert isinstance(argument, ast.Constant)
                yield str(argument.value), level
            continue
        if isinstance(node.func, ast.Name) and node.func.id in LOGGERS:
            level = "info"
        elif (
            isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and "log" in ast.unparse(node.func.value)
        ):
            level = LEVELS[node.func.attr]
        else:
            continue
        event = node.args[0]
        if isinstance(event, ast.Constant):
            yield str(event.value), level
        else:
            assert module in {*LOGGERS.values(), OUTAGE[1]}, (
                f"{module} line {node.lineno}: name the event there"
            )


def test_the_page_has_every_event_with_its_level() -> None:
    logged = {
        event
        for path in (ROOT / "pisync").rglob("*.py")
        for event in events(
            ".".join(path.relative_to(ROOT).with_suffix("").parts), ast.parse(path.read_text())
        )
    }
    assert {(event, level) for event, level, _ in rows("Logs")} == logged


def test_an_event_whose_name_is_not_to_be_seen_is() -> None:
    with pytest.raises(AssertionError, match="line 1"):
        list(events("pisync.simulation.simulator", ast.parse("_log.info(what)")))


def test_the_page_has_every_alert() -> None:
    assert [alert for alert, _ in rows("Alerts")] == list(ALERTS)


def queries() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_alerts_and_dashboard_ask_for_metrics_that_there_are() -> None:
    known = {
        name + suffix
        for name, (kind, _) in documented().items()
        for suffix in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }
    for query in [*queries(), *ALERTS.values()]:
        asked = set(re.findall(r"\b(?:pisync|process)_\w+", query))
        assert asked or "haproxy_" in query or "up{" in query, query
        assert asked <= known, query


def test_the_dashboard_shows_every_metric_of_pisyncs_own() -> None:
    asked = " ".join(queries()) + json.dumps(DASHBOARD["templating"])
    own = [name for name in documented() if name.startswith("pisync_")]
    assert [name for name in own if name not in asked] == []


def test_the_dashboards_panels_lie_beside_each_other() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


@pytest.mark.container
def test_the_dashboards_queries_are_promql(tmp_path: Path) -> None:
    engine.need_engine()
    as_rules: list[dict[str, Any]] = [
        {
            "record": f"query:{number}",
            "expr": expr.replace("$__rate_interval", "5m").replace("$instance", ".*"),
        }
        for number, expr in enumerate(queries())
    ]
    rules = {"groups": [{"name": "dashboard", "rules": as_rules}]}
    (tmp_path / "rules.yml").write_text(json.dumps(rules))  # which is YAML, too
    tmp_path.chmod(0o755)
    image = ("--entrypoint", "promtool", "prom/prometheus:v2.53.3")
    mount = f"{tmp_path}:/rules:ro"
    engine.docker("run", "--rm", "--volume", mount, *image, "check", "rules", "/rules/rules.yml")
