"""The image and the Compose file, built and run for real."""

import asyncio
import json
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin
from uuid import uuid4

import pytest
from aiohttp import ClientSession
from packaging.utils import canonicalize_name

from pisync import __version__
from tests.support import node
from tests.support.certificates import make_certificate
from tests.support.engine import (
    docker,
    need_engine,
    unset_settings,
)
from tests.support.paths import ROOT
from tools.ports import free_port
from tools.vendored.__main__ import components

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

    def __init__(self, image: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.image = image
        self._project = f"pisync-test-{uuid4().hex[:8]}"
        self.container = f"{self._project}-pisync-1"
        self._environ = unset_settings() | {"PISYNC_PORT": str(port), "PISYNC_IMAGE": image}

    def compose(self, *arguments: str) -> str:
        return docker("compose", "--project-name", self._project, *arguments, environ=self._environ)

    def inspect(self, template: str) -> str:
        return docker("inspect", "--format", template, self.container).strip()

    def shell(self, script: str) -> str:
        return docker("exec", self.container, "sh", "-c", script)


@pytest.fixture(scope="module")
def deployment(image: str) -> Iterator[Deployment]:
    made = Deployment(image, free_port())
    try:
        try:
            made.compose("up", "--detach", "--wait")
        except AssertionError as failure:
            pytest.fail(f"{failure}\n{made.compose('logs')}")
        yield made
    finally:
        made.compose("down", "--volumes")


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
        async with asyncio.timeout(60):  # the default profile's longest delay is 10 s
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
    told = json.loads(
        deployment.shell(f"pisync load --duration 1 --connections 2 --json --url {deployment.url}")
    )
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


def test_its_processes_have_no_rights_to_lose(deployment: Deployment) -> None:
    names = set()
    for text in deployment.shell("for p in /proc/[1-9]*; do cat $p/status; echo; done").split(
        "\n\n"
    ):
        if not text.strip():
            continue
        status = dict(line.split(":\t", 1) for line in text.strip().splitlines())
        names.add(status["Name"])
        assert status["Uid"].split() == ["10001"] * 4
        assert status["Gid"].split() == ["10001"] * 4
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
    assert {"tini", "pisync"} <= names


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
    assert packages.pop(canonicalize_name("pisync-server")) == __version__
    # The pages' libraries, too.
    assert packages == {canonicalize_name(each["name"]): each["version"] for each in components()}


def test_it_is_small(deployment: Deployment) -> None:
    sizes = [
        int(docker("image", "inspect", "--format", "{{.Size}}", image))
        for image in (deployment.image, "python:3.13-slim")
    ]
    assert sizes[0] - sizes[1] < MOST_ADDED


def test_no_file_of_its_own_has_the_time_of_a_build_or_a_checkout(deployment: Deployment) -> None:
    own = "/opt/pisync /usr/bin/tini /usr/share/sbom"
    assert deployment.shell(f"find {own} ! -type d -newermt 2000-01-02") == ""


def test_its_code_is_compiled_already(deployment: Deployment) -> None:
    # Bytecode of another kind is compared with the time of its source, which the build has changed.
    script = """if True:
        from importlib.util import cache_from_source
        from pathlib import Path
        for source in Path("/opt/pisync/lib").rglob("*.py"):
            code = Path(cache_from_source(source))
            if not code.exists() or code.read_bytes()[4:8] != b"\\1\\0\\0\\0":
                print(source)
    """
    assert docker("exec", deployment.container, "python", "-c", script) == ""


def wait_until_healthy(container: str) -> None:
    deadline = time.monotonic() + 90
    while docker("inspect", "--format", "{{.State.Health.Status}}", container).strip() != "healthy":
        assert time.monotonic() < deadline, docker("logs", container)
        time.sleep(0.2)


def test_stopping_it_drains_and_ends_well_before_docker_kills_it(container: str) -> None:
    wait_until_healthy(container)
    started = time.monotonic()
    docker("stop", "--time", "20", container)
    assert time.monotonic() - started < 15  # it would be 20 if nothing heard the signal
    assert docker("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"


def test_it_stops_at_once_whenever_it_is_told_to(deployment: Deployment) -> None:
    dice = random.Random(20)  # noqa: S311 - the same moments in every run
    for _ in range(6):
        started = docker("run", "--detach", deployment.image).strip()
        try:
            time.sleep(dice.uniform(0, 1))
            began = time.monotonic()
            docker("stop", "--time", "20", started)
            assert time.monotonic() - began < 15  # it would be 20 if nothing heard the signal
            state = docker("inspect", "--format", "{{.State.ExitCode}}", started)
            assert state.strip() in {"0", "143"}
        finally:
            docker("rm", "--force", "--volumes", started)


def test_it_is_healthy_where_an_option_names_the_port(deployment: Deployment) -> None:
    started = docker("run", "--detach", deployment.image, "serve", "--port", "9000").strip()
    try:
        wait_until_healthy(started)
        docker("exec", started, "healthcheck")
    finally:
        docker("rm", "--force", "--volumes", started)


def test_it_is_healthy_over_tls(deployment: Deployment, tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    tmp_path.chmod(0o755)
    user = f"--user={os.getuid()}:0"  # who alone may read the key
    options = (
        "--tls-cert",
        f"/tls/{files.certificate.name}",
        "--tls-key",
        f"/tls/{files.key.name}",
    )
    mount = f"--volume={tmp_path}:/tls:ro"
    started = docker("run", "--detach", user, mount, deployment.image, "serve", *options).strip()
    try:
        wait_until_healthy(started)
        assert "https://" in docker("logs", started)
    finally:
        docker("rm", "--force", "--volumes", started)


def test_the_addresses_that_it_prints_are_those_of_the_host(deployment: Deployment) -> None:
    assert f"{deployment.url} and is ready" in deployment.compose("logs", "pisync")


def test_it_is_labelled(deployment: Deployment) -> None:
    labels = json.loads(
        docker("image", "inspect", "--format", "{{json .Config.Labels}}", deployment.image)
    )
    kinds = [
        "title",
        "description",
        "documentation",
        "licenses",
        "source",
        "version",
        "revision",
        "created",
    ]
    assert {f"org.opencontainers.image.{kind}" for kind in kinds} <= labels.keys()


def test_what_changes_with_the_code_is_a_small_layer_of_its_own(deployment: Deployment) -> None:
    layers = [
        line.split("\t")
        for line in docker(
            *("image", "history", "--no-trunc", "--human=false"),
            *("--format", "{{.Size}}\t{{.CreatedBy}}", deployment.image),
        ).splitlines()
    ]
    order = [text for _, text in layers]
    [code] = [int(size) for size, text in layers if "COPY /code" in text]
    [packages] = [place for place, text in enumerate(order) if "COPY /opt/pisync" in text]
    assert code < 8_000_000
    # The newest layers come first: whatever is made anew with the code lies above the packages.
    assert sum(int(size) for size, _ in layers[:packages]) < 10_000_000


STORE = ("--env", "PISYNC_STORE=sqlite:////data/pisync.db")


@pytest.mark.parametrize("user", ["1234", "1000650000:0"])
def test_any_user_of_group_0_may_run_it(deployment: Deployment, user: str) -> None:
    started = docker("run", "--detach", "--user", user, *STORE, deployment.image).strip()
    try:
        wait_until_healthy(started)
        listed = docker("exec", started, "sh", "-c", "stat --format %u /data/pisync.db").strip()
        assert listed == user.partition(":")[0]
    finally:
        docker("rm", "--force", "--volumes", started)


def test_a_folder_that_it_may_not_write_is_named_with_owner_user_and_remedy(
    deployment: Deployment, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    mount = ("--volume", f"{tmp_path}:/data")
    done = subprocess.run(
        ["docker", "run", "--rm", "--user", "1234:1234", *mount, *STORE, deployment.image],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "/data belongs to uid 0, and this process is uid 1234" in done.stderr
    assert "chown -R 1234 /data" in done.stderr


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
        async with asyncio.timeout(60):  # the default profile's longest delay is 10 s
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
    assert owners.splitlines() == ["/data 10001 770", "/data/pisync.db.secret 10001 600"]
