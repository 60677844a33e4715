"""The README's tables say what the code says."""

import re

from pisync.config.settings import default_of
from pisync.config.settings_schema import VARIABLES
from pisync.web.routes import ROUTES
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()


def test_the_table_of_settings_is_complete_and_true() -> None:
    rows = [
        f"| {', '.join(f'`{name}`' for name in variable.names)} | {default_of(variable)} |"
        f" {variable.meaning} |"
        for variable in VARIABLES
    ]
    assert "\n".join(rows) in README


def test_the_table_of_calls_is_complete_and_true() -> None:
    told = dict[str, str | None]()
    for calls, scope in re.findall(r"^\| (`[A-Z]+ /.*?) \| (\w*) \|", README, re.MULTILINE):
        needed = "" if scope == "any" else scope or None
        told |= dict.fromkeys(re.findall(r"`([A-Z]+ /[^`]*)`", calls), needed)
    documented = {
        f"{route.method} {re.sub(r':[^/]*}(?=/|$)', '}', route.path)}": route.scope
        for route in ROUTES
        if route.answers
    }
    assert told == documented
