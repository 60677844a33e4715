"""The image and the Compose file, built and run for real."""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Iterator
from urllib.parse import urljoin
from uuid import uuid4

import pytest
from aiohttp import ClientSession
from packaging.utils import canonicalize_name

from pisync import __version__
from tests.support import node
from tests.support.engine import (
    docker,
    need_engine,
    unset_settings,
)
from tests.support.paths import ROOT
from tools.ports import free_port

MOST_ADDED = 150_000_000
"""Bytes that the image may be larger than the one that it is built on."""

pytestmark = [
    pytest.mark.container,
    pytest.mark.timeout(600),  # the first build downloads the dependencies
]


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    need_engine()


class Deployment:
    """What `docker compose up` made: its address, its image and its one container."""

    def __init__(self, project: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.image = project
        self.container = f"{project}-pisync-1"
        self._environ = unset_settings() | {"PISYNC_PORT": str(port), "PISYNC_IMAGE": project}

    def compose(self, *arguments: str) -> str:
        return docker("compose", "--project-name", self.image, *arguments, environ=self._environ)

    def inspect(self, template: str) -> str:
        return docker("inspect", "--format", template, self.container).strip()

    def shell(self, script: str) -> str:
        return docker("exec", self.container, "sh", "-c", script)


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    made = Deployment(f"pisync-test-{uuid4().hex[:8]}", free_port())
    try:
        try:
            made.compose("up", "--build", "--detach", "--wait")
        except AssertionError as failure:
            pytest.fail(f"{failure}\n{made.compose('logs')}")
        yield made
    finally:
        made.compose("down", "--volumes", "--rmi", "all")


@pytest.fixture
def container(deployment: Deployment) -> Iterator[str]:
    """A container of its own, for a test that ends it."""
    started = docker("run", "--detach", "--read-only", deployment.image).strip()
    try:
        yield started
    finally:
        docker("rm", "--force", "--volumes", started)


async def test_a_user_registers_logs_in_and_syncs_a_device(deployment: Deployment) -> None:
    alice = {"username": "alice", "password": "correct horse"}
    async with ClientSession(deployment.url) as client:
        async with client.post("/register", json=alice) as answer:
            assert answer.status == 201
        async with client.post("/login", json=alice) as answer:
            assert answer.status == 200
            client.headers["Authorization"] = f"Bearer {(await answer.json())['token']}"
        async with client.post("/devices/7/sync") as answer:
            assert answer.status == 202
            begun = await answer.json()
            assert begun["sync_status_code"] == 202

        device = begun
        async with asyncio.timeout(15):  # the default profile's longest delay is 10 s
            while device["sync_status_code"] == 202:
                await asyncio.sleep(0.1)
                async with client.get("/devices/7") as answer:
                    device = await answer.json()
        assert device["sync_status_code"] in {200, 400, 404, 500}
        assert device["last_attempt_at"] == begun["last_attempt_at"]
        async with client.get("/stats") as answer:
            stats = await answer.json()
        assert stats["attempts"] == stats["succeeded"] + stats["failed"] == 1


def test_the_fixtures_of_the_typescript_client_run_it(deployment: Deployment) -> None:
    script = """
        import { startServer } from "./dist/server.js";
        const server = await startServer();
        const fleet = await server.newFleet({ devices: 3 });
        console.log(server.url, (await fleet.syncAll()).started);
        await server.stop();
        const gone = await fetch(server.url).catch(() => "gone");
        console.log(gone);
    """
    # Where the command is not installed, there may be its image.
    with node.built_client():
        printed = node.run(
            *("node", "--input-type=module", "--eval", script),
            PISYNC_COMMAND="no-such-command",
            PISYNC_IMAGE=deployment.image,
        )
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+ 3\ngone\n", printed)


def test_it_can_be_loaded_from_within(deployment: Deployment) -> None:
    told = json.loads(deployment.shell("pisync load --duration 1 --connections 2 --json"))
    assert told["good"]
    assert told["syncs"]["accepted"] > 0


async def test_the_documentation_page_finds_all_that_it_loads(deployment: Deployment) -> None:
    async with ClientSession(deployment.url) as client:
        async with client.get("/docs") as page:
            assert page.status == 200
            loaded = re.findall(r'(?:src|href)="([^"]+)"', await page.text())
        assert len(loaded) >= 2
        for path in [*loaded, "/openapi.json"]:
            async with client.get(urljoin("/docs", path)) as answer:
                assert answer.status == 200, path


def test_it_is_healthy(deployment: Deployment) -> None:
    assert deployment.inspect("{{.State.Health.Status}}") == "healthy"
    deployment.shell("pisync healthcheck")


def test_its_one_process_has_no_rights_to_lose(deployment: Deployment) -> None:
    status = dict(
        line.split(":\t", 1) for line in deployment.shell("cat /proc/1/status").splitlines()
    )
    assert status["Name"].startswith("pisync")
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_its_root_is_read_only_and_its_resources_are_bounded(deployment: Deployment) -> None:
    root = next(
        line.split()
        for line in deployment.shell("cat /proc/1/mounts").splitlines()
        if " / " in line
    )
    assert "ro" in root[3].split(",")
    assert deployment.inspect("{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}") == "536870912 64"


def test_it_is_published_on_loopback_alone(deployment: Deployment) -> None:
    addresses = deployment.inspect(
        "{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}"
    )
    assert addresses.split() == ["127.0.0.1"]


def test_nothing_that_built_it_is_left_inside(deployment: Deployment) -> None:
    tools = "cc gcc c++ g++ clang make ld pip pip3 hatchling apt apt-get dpkg perl curl wget"
    assert deployment.shell(f"for tool in {tools}; do command -v $tool || true; done") == ""
    traces = "-name pip -o -name 'pip-*' -o -name '*.whl' -o -name .cache -o -name '.*_history'"
    # Some of Debian's folders are closed to this user; nothing of ours is in them.
    assert deployment.shell(f"find / -xdev '(' {traces} ')' 2>/dev/null || true") == ""


def test_no_program_in_it_gives_its_caller_more_rights(deployment: Deployment) -> None:
    assert deployment.shell("find / -xdev -type f -perm /6000 2>/dev/null || true") == ""


def test_it_says_what_it_is_made_of(deployment: Deployment) -> None:
    made_of = json.loads(deployment.shell("cat /usr/share/sbom/pisync.cdx.json"))
    assert made_of["bomFormat"] == "CycloneDX"
    packages = {canonicalize_name(each["name"]): each["version"] for each in made_of["components"]}
    lock = (ROOT / "requirements.txt").read_text()
    for name, version in re.findall(r"^([\w.-]+)==(\S+)(?: ; .*)? \\$", lock, re.MULTILINE):
        assert packages.pop(canonicalize_name(name)) == version
    assert packages == {"pisync-server": __version__}


def test_it_is_small(deployment: Deployment) -> None:
    sizes = [
        int(docker("image", "inspect", "--format", "{{.Size}}", image))
        for image in (deployment.image, "python:3.13-slim")
    ]
    assert sizes[0] - sizes[1] < MOST_ADDED


def test_its_code_is_compiled_already(deployment: Deployment) -> None:
    uncompiled = deployment.shell(
        "python -c 'import pathlib, pisync;"
        ' print([str(path) for path in pathlib.Path(pisync.__file__).parent.rglob("*.py")'
        ' if not (path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc").exists()])\''
    )
    assert uncompiled.strip() == "[]"


def test_stopping_it_drains_and_ends_well_within_8_seconds(container: str) -> None:
    deadline = time.monotonic() + 30
    while docker("inspect", "--format", "{{.State.Health.Status}}", container).strip() != "healthy":
        assert time.monotonic() < deadline, docker("logs", container)
        time.sleep(0.2)
    started = time.monotonic()
    docker("stop", "--time", "20", container)
    assert time.monotonic() - started < 8
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"


def test_a_mistake_in_its_settings_ends_it_with_status_2(deployment: Deployment) -> None:
    done = subprocess.run(
        ["docker", "run", "--rm", "--env", "PISYNC_BCRYPT_COST=99", deployment.image],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "PISYNC_BCRYPT_COST" in done.stderr


@pytest.mark.parametrize(
    "violence", [["restart"], ["kill"], ["rm", "--stop", "--force"]], ids=lambda words: words[0]
)
async def test_what_it_has_accepted_outlives_it(
    deployment: Deployment, violence: list[str]
) -> None:
    user = {"username": f"before-{violence[0]}", "password": "correct horse"}
    async with ClientSession(deployment.url) as client:
        async with client.post("/register", json=user) as answer:
            assert answer.status == 201
            client.headers["Authorization"] = f"Bearer {(await answer.json())['token']}"
        async with client.get("/stats") as answer:
            before = await answer.json()
        async with client.post("/devices/sync", json={"all": True}) as answer:
            assert (await answer.json())["started"] == 10
        deployment.compose(*violence)
    deployment.compose("up", "--detach", "--wait")
    # By the token and the account of before.
    async with ClientSession(deployment.url, headers=client.headers) as client:
        async with asyncio.timeout(15):  # the default profile's longest delay is 10 s
            stats = before | {"pending": 10}
            while stats["pending"]:
                await asyncio.sleep(0.1)
                async with client.get("/stats") as answer:
                    stats = await answer.json()
        failed = stats["failed"] - before["failed"]
        assert failed + stats["succeeded"] - before["succeeded"] == 10
        assert stats["error_logs"] - before["error_logs"] == failed
        async with client.post("/login", json=user) as answer:
            assert answer.status == 200


def test_its_data_is_its_own(deployment: Deployment) -> None:
    owners = deployment.shell("stat --format '%n %u %a' /data /data/pisync.db.secret")
    assert owners.splitlines() == ["/data 10001 700", "/data/pisync.db.secret 10001 600"]
