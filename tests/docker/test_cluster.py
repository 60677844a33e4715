"""The cluster that docker/compose.cluster.yml makes, brought up for real and hurt."""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from aiohttp import ClientError, ClientSession, TCPConnector
from yarl import URL

from tests.chaos.conftest import short_or_long, verdict
from tests.chaos.load import Load
from tests.chaos.replica import DELAY, DEVICES, SECRET, token
from tests.support.certificates import Files, make_certificate
from tests.support.engine import (
    docker,
    need_engine,
    run,
    unset_settings,
)
from tests.support.paths import ROOT
from tests.support.waiting import eventually
from tools.ports import free_port

pytestmark = [
    pytest.mark.container,
    pytest.mark.timeout(600),  # the first build downloads the dependencies
]

FILES = ("-f", "docker-compose.yml", "-f", "docker/compose.cluster.yml")
ANSWER_TIMEOUT = 5
"""Seconds that HAProxy waits for a replica, far fewer than by default."""
BACKUP = "/tmp/backup"  # noqa: S108 - in memory, of PostgreSQL's container alone
ADMIN = {"Authorization": f"Bearer {token()}"}


@pytest.fixture(scope="module", autouse=True)
def engine() -> None:
    need_engine()


class Cluster:
    """What `docker compose up` made of both files."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.name = f"pisync-test-{uuid4().hex[:8]}"
        port, self.prometheus_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.prometheus = f"http://127.0.0.1:{self.prometheus_port}"
        self.environ = unset_settings() | {
            "COMPOSE_PROJECT_NAME": self.name,
            "PISYNC_ANSWER_TIMEOUT": f"{ANSWER_TIMEOUT}s",
            "PISYNC_BCRYPT_COST": "4",
            "PISYNC_DEVICES": str(DEVICES),
            "PISYNC_IMAGE": image,
            "PISYNC_JWT_SECRET": SECRET,
            "PISYNC_NETWORK": f"10.215.{os.getpid() % 256}",
            "PISYNC_PORT": str(port),
            "PISYNC_PROFILE": orjson.dumps({"seed": 7, "delay": DELAY}).decode(),
            "PROMETHEUS_PORT": str(self.prometheus_port),
        }

    def compose(self, *arguments: str) -> str:
        return docker("compose", *FILES, *arguments, environ=self.environ)

    def containers(self, *services: str) -> list[str]:
        """Return the ids of these services' containers, all if none are named."""
        return self.compose("ps", "--all", "--quiet", *services).split()

    def secret(self, name: str) -> str:
        return self.compose("exec", "-T", "postgres", "cat", f"/run/secrets/{name}").strip()

    def scale(self, replicas: int) -> None:
        """Have so many replicas, and wait until all are healthy."""
        options = ("--detach", "--wait", "--no-deps", "--no-recreate")
        self.compose("up", *options, "--scale", f"pisync={replicas}", "pisync")

    @contextmanager
    def over_tls(self, files: Files) -> Iterator[str]:
        """Have HAProxy end TLS, with these files; the cluster's URL meanwhile."""
        up = ("up", "--detach", "--wait", "--no-deps", "haproxy")
        with_tls = ("compose", *FILES, "-f", "docker/compose.tls.yml", *up)
        docker(*with_tls, environ=self.environ | files.variables)
        try:
            yield self.url.replace("http:", "https:")
        finally:
            self.compose(*up)

    async def is_ready(self) -> bool:
        try:
            async with ClientSession() as client, client.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except ClientError:
            return False

    async def ready(self, within: float) -> None:
        async with asyncio.timeout(within):
            while not await self.is_ready():  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.1)


@pytest.fixture(scope="module")
def cluster(image: str) -> Iterator[Cluster]:
    made = Cluster(image)
    try:
        try:
            made.compose("up", "--detach", "--wait")
        except AssertionError as failure:
            pytest.fail(f"{failure}\n{made.compose('logs')}")
        yield made
    finally:
        made.compose("down", "--volumes")


def inspect(container: str) -> dict[str, Any]:
    (shown,) = json.loads(docker("inspect", container))
    return dict(shown)


async def test_a_user_registers_logs_in_and_syncs_a_device(cluster: Cluster) -> None:
    alice = {"username": "alice", "password": "correct horse"}
    async with ClientSession(cluster.url) as client:
        async with client.post("/register", json=alice) as answer:
            assert answer.status == 201
        # As a rule each request goes to another replica.
        async with client.post("/login", json=alice) as answer:
            assert answer.status == 200
            client.headers["Authorization"] = f"Bearer {(await answer.json())['token']}"
        async with client.post("/devices/7/sync") as answer:
            assert answer.status == 202
        async with asyncio.timeout(60):
            status = 202
            while status == 202:
                async with client.get("/devices/7") as answer:
                    status = (await answer.json())["sync_status_code"]
        async with client.get("/stats") as answer:
            stats = await answer.json()
        assert stats["attempts"] == stats["succeeded"] + stats["failed"] == 1


def test_it_has_three_replicas(cluster: Cluster) -> None:
    assert len(cluster.containers("pisync")) == 3


def test_nothing_but_haproxy_and_prometheus_is_published_and_on_loopback_alone(
    cluster: Cluster,
) -> None:
    published = {}
    for each in map(inspect, cluster.containers()):
        for addresses in each["NetworkSettings"]["Ports"].values():
            for address in addresses or ():
                service = each["Config"]["Labels"]["com.docker.compose.service"]
                published[service] = address["HostIp"], int(address["HostPort"])
    assert published == {
        "haproxy": ("127.0.0.1", int(cluster.url.rpartition(":")[2])),
        "prometheus": ("127.0.0.1", cluster.prometheus_port),
    }


def test_no_container_has_rights_to_lose(cluster: Cluster) -> None:
    for container in map(inspect, cluster.containers()):
        assert container["HostConfig"]["ReadonlyRootfs"], container["Name"]
        assert container["HostConfig"]["CapDrop"] == ["ALL"]
        assert container["HostConfig"]["SecurityOpt"] == ["no-new-privileges:true"]


def test_secrets_are_in_files_and_nowhere_else(cluster: Cluster) -> None:
    shown = docker("inspect", *cluster.containers()) + cluster.compose("logs")
    for name in ("database_password", "admin_password"):
        assert len(cluster.secret(name)) == 64
        assert cluster.secret(name) not in shown
    assert cluster.secret("jwt_secret") == SECRET


async def test_the_admin_has_the_password_that_was_drawn(cluster: Cluster) -> None:
    admin = {"username": "admin", "password": cluster.secret("admin_password")}
    async with (
        ClientSession() as client,
        client.post(f"{cluster.url}/login", json=admin) as answer,
    ):
        assert answer.status == 200


async def test_logins_are_counted_by_the_clients_address_whatever_it_says_of_it(
    cluster: Cluster,
) -> None:
    statuses = []
    async with ClientSession() as client:
        for n in range(11):
            guess = {"username": f"nobody-{n}", "password": "wrong horse"}
            header = {"X-Forwarded-For": f"192.0.2.{n}"}
            async with client.post(f"{cluster.url}/login", json=guess, headers=header) as answer:
                statuses.append(answer.status)
    assert statuses == [401] * 10 + [429]


def test_the_secret_is_changed_in_steps_and_the_old_one_goes_last(tmp_path: Path) -> None:
    def step(*words: str) -> tuple[str, str]:
        script = ("sh", f"{ROOT}/docker/secrets.sh", *words)
        subprocess.run(script, cwd=tmp_path, env={"PATH": os.defpath}, check=True)
        signs, previous = tmp_path / "jwt_secret", tmp_path / "jwt_secret_previous"
        return signs.read_text(), previous.read_text()

    old, unused = step()
    assert step() == (old, unused)
    signs, new = step("renew")
    assert signs == old
    assert new not in (old, unused)
    assert step("swap") == (new, old)
    signs, unused = step("renew")
    assert signs == new
    assert unused not in (old, new)


async def test_a_stream_outlives_haproxys_time_outs(cluster: Cluster) -> None:
    async with (
        ClientSession(cluster.url, headers=ADMIN) as client,
        client.get("/events") as stream,
    ):
        await asyncio.sleep(ANSWER_TIMEOUT + 2)
        async with client.post("/devices/9/sync") as answer:
            assert answer.status == 202
        async with asyncio.timeout(60):
            while not (line := await stream.content.readline()).startswith(b"event: sync"):
                assert line


async def test_prometheus_finds_all_replicas_and_knows_its_alerts(cluster: Cluster) -> None:
    async with ClientSession() as client, asyncio.timeout(60):
        up: list[str] = []
        while up != ["1", "1", "1", "1"]:
            await asyncio.sleep(0.5)
            async with client.get(f"{cluster.prometheus}/api/v1/query?query=up") as answer:
                up = [each["value"][1] for each in (await answer.json())["data"]["result"]]
        async with client.get(f"{cluster.prometheus}/api/v1/rules") as answer:
            (group,) = (await answer.json())["data"]["groups"]
        assert len(group["rules"]) > 3


def test_alerts_say_what_is_wrong_and_nothing_of_what_is_not() -> None:
    folder = f"{ROOT}/docker:/docker:ro"
    image = ("--entrypoint", "promtool", "prom/prometheus:v2.53.3")
    docker("run", "--rm", "--volume", folder, *image, "test", "rules", "/docker/alerts.test.yml")


@pytest.fixture
async def load(cluster: Cluster) -> Load:
    """Load on a fleet where nothing has happened yet."""
    async with (
        ClientSession(cluster.url, headers=ADMIN) as client,
        client.post("/admin/fleets/default/reset") as answer,
    ):
        assert answer.status == 204
    return Load([cluster.url], rate=20, sure_of_503=False)


def failed(load: Load) -> dict[str, int]:
    """How often the load was answered by what is not 202, or not at all, and by what.

    That PostgreSQL took too long, on a machine that has other things to do, is no failure to find a
    replica.
    """
    busy = Counter({"503": load.reasons["The store can't be reached now. Try again."]})
    found = load.journal.answers - busy
    del found["202"]
    return found


async def test_while_replicas_come_and_go_no_request_fails(cluster: Cluster, load: Load) -> None:
    await asyncio.to_thread(cluster.scale, 2)
    load.rate = 100
    async with load:
        for replicas in [5, 2] * short_or_long(1, 10):
            await asyncio.to_thread(cluster.scale, replicas)
    assert load.journal.answers["202"] > 0
    assert not failed(load)
    assert await verdict(load, cluster.url) == []


@pytest.mark.parametrize("replicas", [2, 5])
async def test_a_rolling_restart_of_any_number_lets_no_request_fail(
    cluster: Cluster, load: Load, replicas: int
) -> None:
    cluster.scale(replicas)
    before = cluster.containers("pisync")
    async with load:
        await asyncio.to_thread(run, "docker/roll", environ=cluster.environ)
    after = cluster.containers("pisync")
    assert len(after) == len(before) == replicas
    assert {*before}.isdisjoint(after)
    assert load.journal.answers["202"] > 0
    assert not failed(load)
    assert await verdict(load, cluster.url) == []


async def test_a_restart_of_haproxy_answers_nobody_before_it_knows_a_replica(
    cluster: Cluster, load: Load
) -> None:
    async with load:
        await asyncio.to_thread(cluster.compose, "restart", "haproxy")
        await cluster.ready(within=30)
    # While it is away, nobody is there to answer; there is never a 503.
    assert failed(load).keys() <= {"not connected", "ClientOSError", "ServerDisconnectedError"}
    assert await verdict(load, cluster.url) == []


async def test_haproxy_ends_tls_and_takes_a_renewed_certificate(
    cluster: Cluster, tmp_path: Path
) -> None:
    old, new = make_certificate(tmp_path, "old"), make_certificate(tmp_path, "new")
    used = Files(tmp_path / "used.pem", tmp_path / "used-key.pem")
    for source, target in zip(old, used, strict=True):
        shutil.copy(source, target)
    assert used.key.stat().st_mode & 0o077 == 0, "nobody else may read it"
    known = ssl.create_default_context(cafile=old.certificate)
    known.load_verify_locations(new.certificate)
    port = int(cluster.url.rpartition(":")[2])

    async def shows_new() -> bool:
        _, writer = await asyncio.open_connection("localhost", port, ssl=known)
        name: str = writer.get_extra_info("peercert")["subject"][0][0][1]
        writer.close()
        return name == "new"

    with cluster.over_tls(used) as url:
        for version in ("--http1.1", "--http2"):
            write = ("--write-out", "%{http_version} %{http_code}", "--output", os.devnull)
            trust = ("--cacert", str(old.certificate))
            shown = run("curl", "-sS", version, *write, *trust, f"{url}/readyz")
            assert shown == f"{version.removeprefix('--http').removesuffix('.0')} 200"
        load = Load([url], rate=20, sure_of_503=False, context=known)
        async with (
            ClientSession(url, headers=ADMIN, connector=TCPConnector(ssl=known)) as client,
            client.post("/admin/fleets/default/reset") as answer,
        ):
            assert answer.status == 204
            async with client.get("/events") as stream, load:
                while not (line := await stream.content.readline()).startswith(b"event: sync"):
                    assert line
                assert not await shows_new()
                for source, target in zip(new, used, strict=True):
                    shutil.copy(source, target)
                cluster.compose("kill", "--signal", "USR2", "haproxy")
                await eventually(shows_new)
                await asyncio.sleep(1)
    assert load.journal.answers["202"] > 0
    assert not failed(load)
    assert await verdict(load, cluster.url) == []


async def test_metrics_are_for_those_inside(cluster: Cluster) -> None:
    async with ClientSession(cluster.url) as client:
        for path in ("/metrics", "/%6detrics", "/metrics?x=1"):
            async with client.get(URL(path, encoded=True)) as answer:
                assert answer.status == 404
                assert [*await answer.json()] == ["message"]


def is_healthy(container: str) -> bool:
    return bool(inspect(container)["State"]["Health"]["Status"] == "healthy")


async def test_a_replica_that_is_killed_comes_back_and_nothing_is_lost(
    cluster: Cluster, load: Load
) -> None:
    container = cluster.containers("pisync")[0]
    pid = inspect(container)["State"]["Pid"]
    # Not `docker kill`, which the engine takes for the wish that it stay down.
    killer = ("--pid", "host", "--user", "0", "--entrypoint", "sh", cluster.image)
    async with load:
        await asyncio.sleep(0.5)
        await asyncio.to_thread(docker, "run", "--rm", *killer, "-c", f"kill -9 {pid}")
        async with asyncio.timeout(90):
            while inspect(container)["State"]["Pid"] == pid or not is_healthy(container):  # noqa: ASYNC110 - only asking tells
                await asyncio.sleep(0.5)
    # On a connection that has had answers before, HAProxy hangs up rather than to say 502.
    assert {*load.journal.answers} <= {"202", "503", "ServerDisconnectedError"}
    assert await verdict(load, cluster.url) == []


async def test_while_postgresql_is_away_clients_are_told_to_come_back(cluster: Cluster) -> None:
    cluster.compose("stop", "postgres")
    async with ClientSession(cluster.url, headers=ADMIN) as client:
        started = time.monotonic()
        async with client.get("/devices", headers={"X-Request-ID": "mine"}) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.headers["X-Request-ID"] == "mine"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
            assert [*await answer.json()] == ["message"]
        assert time.monotonic() - started < 5
    cluster.compose("start", "postgres")
    await cluster.ready(within=60)


async def stats(cluster: Cluster) -> Any:
    async with (
        ClientSession(cluster.url, headers=ADMIN) as client,
        client.get("/stats") as answer,
    ):
        return await answer.json()


async def test_what_was_backed_up_is_back_after_a_restore(cluster: Cluster) -> None:
    backed_up = await stats(cluster)
    assert backed_up["attempts"] > 0
    backup = "pg_dump --username pisync --format custom --file"
    cluster.compose("exec", "-T", "postgres", *backup.split(), BACKUP, "pisync")
    async with (
        ClientSession(cluster.url, headers=ADMIN) as client,
        client.post("/admin/fleets/default/reset") as answer,
    ):
        assert answer.status == 204
    assert (await stats(cluster))["attempts"] == 0
    cluster.compose("stop", "pisync")
    restore = (
        "pg_restore --username pisync --dbname pisync --clean --if-exists --single-transaction"
    )
    cluster.compose("exec", "-T", "postgres", *restore.split(), BACKUP)
    cluster.compose("start", "pisync")
    await cluster.ready(within=30)
    assert await stats(cluster) == backed_up
