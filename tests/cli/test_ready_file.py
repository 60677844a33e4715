"""`pisync serve --ready-file`: real processes, which a program starts and waits for."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pisync import __version__
from tests.support.certificates import shared_certificate
from tests.support.stalls import exit_status

Process = subprocess.Popen[str]


@contextmanager
def start(path: Path, *arguments: str, output: int = subprocess.DEVNULL) -> Iterator[Process]:
    own = {name: text for name, text in os.environ.items() if not name.startswith("PISYNC_")}
    with subprocess.Popen(
        [sys.executable, "-m", "pisync", "serve", "--port=0", f"--ready-file={path}", *arguments],
        cwd=path.parent,
        env=own | {"PISYNC_BCRYPT_COST": "4"},
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def content_of(path: Path) -> Any:
    """Read the file; None if there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def read_once_there(path: Path, process: Process) -> Any:
    """Read the file at the first moment that it is there, as a program would."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if (content := content_of(path)) is not None:
            return content
        time.sleep(0.001)
    pytest.fail(f"no file, exit status {process.poll()}")


def status_of(url: str) -> int:
    parts = urlsplit(url)
    assert parts.hostname is not None
    with closing(HTTPConnection(parts.hostname, parts.port, timeout=60)) as connection:
        connection.request("GET", "/readyz")
        return connection.getresponse().status


def test_it_is_whole_once_the_server_accepts_connections_and_gone_when_it_has_stopped(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ready.json"
    with start(path) as process:
        ready = read_once_there(path, process)
        assert status_of(ready["url"]) == 200
        assert ready == {
            "url": ready["url"],
            "urls": [ready["url"]],
            "pid": process.pid,
            "version": __version__,
        }
        process.send_signal(signal.SIGTERM)
        assert exit_status(process) == 0
    assert list(tmp_path.iterdir()) == []


def test_one_of_an_earlier_run_does_not_pass_for_this_ones(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    with start(path) as killed:
        earlier = read_once_there(path, killed)
    assert path.exists()
    with start(path) as process:
        while content_of(path) == earlier:
            assert process.poll() is None
        assert read_once_there(path, process)["pid"] == process.pid


def test_the_file_of_a_server_that_took_the_path_over_stays(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    with start(path) as process:
        read_once_there(path, process)
        path.write_text(json.dumps({"pid": 1}))
        process.send_signal(signal.SIGTERM)
        assert exit_status(process) == 0
    assert json.loads(path.read_text()) == {"pid": 1}


def test_a_url_is_one_that_this_machine_can_call(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    with start(path, "--host=0.0.0.0") as process:
        assert read_once_there(path, process)["url"].startswith("http://127.0.0.1:")


def test_a_path_where_no_file_can_be_is_a_mistake(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    for path, problem in (
        (missing / "ready.json", f"there is no directory {missing}"),
        (tmp_path, "is a directory"),
    ):
        with subprocess.Popen(
            [sys.executable, "-m", "pisync", "serve", "--port=0", "--ready-file", path],
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.wait(timeout=60) == 2
            assert process.stderr is not None
            error = process.stderr.read()
        assert problem in error
        assert "Traceback" not in error


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="only Linux has such a directory")
def test_one_that_cannot_be_written_ends_the_start_and_says_why() -> None:
    # Nobody can make a file there, and not even root is told so beforehand.
    with start(Path("/proc/pisync-ready.json")) as process:
        assert process.wait(timeout=60) == 1
        assert process.stderr is not None
        lines = process.stderr.read().splitlines()
    assert json.loads(lines[-1])["reason"] == (
        "Can't write /proc/pisync-ready.json: No such file or directory"
    )
    assert "Traceback" not in lines


def test_it_says_https_where_that_is_spoken_and_so_do_banner_and_health_check(
    tmp_path: Path,
) -> None:
    path, files = tmp_path / "ready.json", shared_certificate()
    options = [f"--tls-cert={files.certificate}", f"--tls-key={files.key}"]
    with start(path, *options, output=subprocess.PIPE) as process:
        url = urlsplit(read_once_there(path, process)["url"])
        assert url.scheme == "https"
        assert process.stdout is not None
        assert any(f"listens on {url.geturl()}" in line for line in process.stdout)
        context = files.client_context
        with closing(HTTPSConnection("localhost", url.port, context=context)) as connection:
            connection.request("GET", "/readyz")
            assert connection.getresponse().status == 200
        check = [sys.executable, "-m", "pisync", "healthcheck", f"--port={url.port}"]
        for arguments, status in ((options[:1], 0), ((), 1)):
            checked = subprocess.run([*check, *arguments], check=False, capture_output=True)
            assert checked.returncode == status


def test_a_certificate_that_does_not_fit_its_key_is_a_mistake(tmp_path: Path) -> None:
    files = shared_certificate()
    options = (f"--tls-cert={files.certificate}", f"--tls-key={files.certificate}")
    with start(tmp_path / "ready.json", *options) as process:
        _, said = process.communicate()
    assert process.returncode == 2
    assert "--tls-key: the file has no private key in PEM form" in said
    assert said.count("\n") == 1
