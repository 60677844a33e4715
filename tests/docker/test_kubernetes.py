"""The manifests of docker/kubernetes: Kubernetes' schemas, its pod-security rules, and the image.

There is no cluster here: what a manifest claims is what Docker makes of the same claims.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from pisync.config.settings import unknown_variables
from tests.support.engine import docker, run
from tests.support.paths import ROOT

FOLDER = ROOT / "docker/kubernetes"
LAYOUTS = ("single", "cluster")
DRAIN_SECONDS = 8
"""How long a stop takes at the most, when the drain's delay is a second."""
RESTRICTED_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}

Object = Mapping[str, Any]


def documents(layout: str) -> list[Object]:
    """What a kustomization brings."""
    kustomization = yaml.safe_load((FOLDER / layout / "kustomization.yaml").read_text())
    return [
        document
        for name in kustomization["resources"]
        for document in yaml.safe_load_all((FOLDER / layout / name).read_text())
    ]


def only(layout: str, kind: str) -> Object:
    [found] = (document for document in documents(layout) if document["kind"] == kind)
    return found


def pod_of(layout: str) -> Object:
    pod: Object = only(layout, "Deployment")["spec"]["template"]["spec"]
    return pod


def container_of(layout: str) -> Object:
    [container] = pod_of(layout)["containers"]
    return dict(container)


def environment(layout: str) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container_of(layout)["env"]}


def restricted_faults(pod: Object) -> list[str]:
    """What the pod-security standard `restricted` (and with it `baseline`) refuses in a pod."""
    context = pod.get("securityContext", {})
    faults = [name for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if pod.get(name)]
    faults += [
        f"volume {volume['name']}"
        for volume in pod.get("volumes", ())
        if not RESTRICTED_VOLUMES & volume.keys()
    ]
    for container in [*pod["containers"], *pod.get("initContainers", ())]:
        own = {**context, **container.get("securityContext", {})}
        rules = {
            "runAsNonRoot": own.get("runAsNonRoot") is True,
            "runAsUser": own.get("runAsUser") != 0,
            "seccompProfile": own.get("seccompProfile", {}).get("type")
            in {"RuntimeDefault", "Localhost"},
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "privileged": not own.get("privileged"),
            "hostPort": not any("hostPort" in port for port in container.get("ports", ())),
        }
        faults += [rule for rule, holds in rules.items() if not holds]
    return faults


@pytest.mark.slow
def test_the_manifests_are_what_kubernetes_takes(tmp_path: Path) -> None:
    lock = ROOT / "tests/docker/kubernetes-validate.txt"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(
        *pip, "--no-deps", "--require-hashes", "--target", str(tmp_path), "--requirement", str(lock)
    )
    files = [str(file) for file in FOLDER.glob("*/*.yaml") if file.stem != "kustomization"]
    assert len(files) == 3
    checked = subprocess.run(
        [sys.executable, "-m", "kubernetes_validate", "--strict", *files],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    objects = sum(len(documents(layout)) for layout in LAYOUTS)
    assert checked.stdout.count(" passed ") == objects, checked.stdout


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pods_are_as_the_restricted_rules_want_them(layout: str) -> None:
    assert restricted_faults(pod_of(layout)) == []


def test_the_restricted_rules_see_a_breach() -> None:
    container = {"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}}
    volumes = [{"name": "host", "hostPath": {"path": "/"}}]
    assert restricted_faults({"hostPID": True, "volumes": volumes, "containers": [container]}) == [
        *("hostPID", "volume host", "runAsNonRoot", "seccompProfile", "allowPrivilegeEscalation"),
        "capabilities",
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_belongs_together_fits(layout: str) -> None:
    found = documents(layout)
    assert {file.name for file in (FOLDER / layout).iterdir()} == {
        "kustomization.yaml",
        *yaml.safe_load((FOLDER / layout / "kustomization.yaml").read_text())["resources"],
    }
    labels = only(layout, "Deployment")["spec"]["template"]["metadata"]["labels"]
    for document in found:
        selector = document["spec"].get("selector") if "spec" in document else None
        if selector:
            assert selector.get("matchLabels", selector) == labels, document["kind"]
    pod, container = pod_of(layout), container_of(layout)
    assert unknown_variables(environment(layout)) == []
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8080}
    [service] = only(layout, "Service")["spec"]["ports"]
    assert service["targetPort"] == "http"
    # It sets PISYNC_PORT to an address where services share its namespace.
    assert pod["enableServiceLinks"] is False
    # A stop is over before the kubelet kills.
    delay = int(environment(layout)["PISYNC_DRAIN_DELAY"])
    assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS + delay - 1


def test_the_secret_has_what_the_pods_read_and_nobody_starts_with_it_as_it_stands() -> None:
    entries = only("cluster", "Secret")["stringData"]
    [mount] = container_of("cluster")["volumeMounts"]
    files = {value for name, value in environment("cluster").items() if name.endswith("_FILE")}
    assert files == {f"{mount['mountPath']}/{name}" for name in entries}
    assert len(entries["jwt_secret"]) < 32
    assert len(entries["admin_password"]) < 8


def docker_options(layout: str) -> list[str]:
    """What Docker calls the claims of a layout's pod."""
    pod, container = pod_of(layout), container_of(layout)
    context, own = pod["securityContext"], container["securityContext"]
    # Docker's own seccomp profile is what RuntimeDefault means there: it is on unless turned off.
    options = ["--user", f"{context['runAsUser']}:{context['runAsGroup']}"]
    options += ["--read-only"] * own["readOnlyRootFilesystem"]
    options += ["--security-opt", "no-new-privileges"] * (not own["allowPrivilegeEscalation"])
    options += [f"--cap-drop={name}" for name in own["capabilities"]["drop"]]
    options += ["--memory", container["resources"]["limits"]["memory"].removesuffix("i")]
    for volume in pod["volumes"]:
        if "emptyDir" in volume:
            [path] = paths(container["volumeMounts"], volume["name"])
            options += ["--tmpfs", path]
    for name, value in environment(layout).items():
        options += ["--env", f"{name}={value}"]
    return options


def paths(mounts: Sequence[Object], name: str) -> list[str]:
    return [mount["mountPath"] for mount in mounts if mount["name"] == name]


@contextmanager
def volume(image: str, prepare: str) -> Iterator[str]:
    """A volume that root prepares at /volume, as the kubelet does with `fsGroup`."""
    name = f"pisync-test-{uuid4().hex[:8]}"
    as_root = ("run", "--rm", "--user=0", "--volume", f"{name}:/volume", "--entrypoint=sh", image)
    try:
        docker(*as_root, "-ec", prepare)
        yield name
    finally:
        docker("volume", "rm", "--force", name)


@pytest.mark.container
@pytest.mark.timeout(600)  # the first build downloads the dependencies
def test_one_instance_runs_and_drains_as_its_manifest_says(image: str) -> None:
    group = pod_of("single")["securityContext"]["fsGroup"]
    container = container_of("single")
    [data] = paths(container["volumeMounts"], "data")
    with volume(image, f"chown 0:{group} /volume && chmod 2775 /volume") as name:
        options = [*docker_options("single"), "--volume", f"{name}:{data}"]
        started = docker("run", "--detach", *options, image).strip()
        try:
            wait_for_probe(started, container["startupProbe"])
            assert probe(started, container["readinessProbe"]) == 200
            status = docker("exec", started, "cat", "/proc/1/status")
            assert "CapEff:\t0000000000000000" in status
            assert "NoNewPrivs:\t1" in status
            assert "Seccomp:\t2" in status  # a filter
            # Out of the service at once, and answering until the delay is over.
            docker("kill", "--signal=TERM", started)
            began = time.monotonic()
            while probe(started, container["readinessProbe"]) == 200:
                assert time.monotonic() - began < 5
            assert probe(started, container["livenessProbe"]) == 200
            docker("wait", started)
            took = time.monotonic() - began
            delay = int(environment("single")["PISYNC_DRAIN_DELAY"])
            assert delay - 1 < took < pod_of("single")["terminationGracePeriodSeconds"]
            assert docker("inspect", "--format", "{{.State.ExitCode}}", started).strip() == "0"
        finally:
            docker("rm", "--force", started)


@pytest.mark.container
@pytest.mark.timeout(600)
def test_a_replica_reads_its_secret(image: str) -> None:
    pod, container = pod_of("cluster"), container_of("cluster")
    group = pod["securityContext"]["fsGroup"]
    [secret] = [entry["secret"] for entry in pod["volumes"] if entry["name"] == "secret"]
    [folder] = paths(container["volumeMounts"], "secret")
    lines = [f"echo {32 * 'x'} >/volume/{name}" for name in only("cluster", "Secret")["stringData"]]
    lines += ["echo postgresql://pisync:x@postgres/pisync >/volume/store"]
    lines += [f"chown 0:{group} /volume/*", f"chmod {secret['defaultMode']:o} /volume/*"]
    with volume(image, "; ".join(lines)) as name:
        options = [*docker_options("cluster"), "--volume", f"{name}:{folder}:ro"]
        token = docker("run", "--rm", *options, image, "token", "--name", "me")
    assert token.startswith("eyJ")


def probe(container: str, wanted: Object) -> int:
    """Ask what a probe asks; 0 if nobody answers."""
    script = f"""if True:
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
        try:
            connection.request("GET", {json.dumps(wanted["httpGet"]["path"])})
            print(connection.getresponse().status)
        except OSError:
            print(0)
    """
    return int(docker("exec", container, "python", "-c", script))


def wait_for_probe(container: str, wanted: Object) -> None:
    deadline = time.monotonic() + wanted["periodSeconds"] * wanted["failureThreshold"]
    while probe(container, wanted) != 200:
        assert time.monotonic() < deadline, docker("logs", container)
        time.sleep(wanted["periodSeconds"])
