"""The TypeScript client's own suite, as its developers run it, and examples in JavaScript."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pisync.client import FleetClient
from pisync.in_process import SETTINGS, running_server
from tests.support import node
from tests.support.paths import ROOT

SOURCE = node.FOLDER / "src"
SECRET = "a secret that only the examples know"
LOCK = node.FOLDER / "package-lock.json"


@pytest.mark.browser
@pytest.mark.timeout(600)  # it takes less than a minute on a machine that does nothing else
def test_its_own_suite_passes() -> None:
    node.need(shutil.which("chromium"), "needs Chromium: apt-get install chromium")
    with node.client_folder():
        node.run("npm", "test")


@pytest.mark.timeout(300)  # it may have to install packages
def test_the_examples_of_the_page_about_clients_run(tmp_path: Path) -> None:
    packages = tmp_path / "node_modules"
    packages.mkdir()
    (packages / "axios").symlink_to(node.FOLDER / "node_modules/axios")
    (packages / "pisync").symlink_to(node.FOLDER)
    examples = node.blocks("js", (ROOT / "docs/clients.md").read_text())
    assert len(examples) == 6
    settings = replace(SETTINGS, jwt_secret=SECRET)
    with node.built_client(), running_server(settings) as server:
        for number, example in enumerate(examples):
            path = tmp_path / f"example-{number}.mjs"
            path.write_text(example.replace(node.ADDRESS, server.url))
            variables = {"TOKEN": server.token("devices"), "PISYNC_JWT_SECRET": SECRET}
            node.run("node", str(path), cwd=tmp_path, **variables)


def camel_case(name: str) -> str:
    return re.sub(r"_(.)", lambda match: match[1].upper(), name)


def test_a_fleets_client_has_every_call_that_pythons_has() -> None:
    calls = {name for name in vars(FleetClient) if not name.startswith("_")}
    assert "manual_clock" in calls
    classes = (SOURCE / "fleet.ts").read_text() + (SOURCE / "client.ts").read_text()
    methods = re.findall(r"^  (?:async |get |readonly )?([a-z]\w*)[(<:]", classes, re.MULTILINE)
    options = {"token", "admin_token", "timeout"}  # of both, but no calls
    assert {camel_case(name) for name in calls - options} - {*methods, "fleet"} == set()


def test_its_lock_names_no_place_that_packages_came_from() -> None:
    assert '"resolved"' not in LOCK.read_text()


def test_its_lock_holds_a_hash_for_every_package() -> None:
    lock = LOCK.read_text()
    versions = len(re.findall(r'^      "version"', lock, re.MULTILINE))
    assert lock.count('"integrity": "sha512-') == versions - 1  # its own, at the top, has none
