"""The command as people run it: real processes, real signals, real sockets."""

import json
import os
import pty
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest

from pisync import __version__
from pisync.config.settings import default_of
from pisync.config.settings_schema import (
    VARIABLES,
    option_of,
)
from tests.support.paths import ROOT
from tests.support.stalls import exit_status

SECRET = "a secret that only these tests know"
PASSWORD = "the admin's password"

Completed = subprocess.CompletedProcess[str]


def environment(**variables: str) -> dict[str, str]:
    """The process's own environment, with no other settings than these."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("PISYNC_")}
    return own | variables


def pisync(*arguments: str, **variables: str) -> Completed:
    """Run a command that ends, and tells its mistakes as people get to see them."""
    variables = {"PISYNC_LOG_FORMAT": "text"} | variables
    return subprocess.run(
        [sys.executable, "-m", "pisync", *arguments],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@dataclass
class Server:
    """A running `pisync serve`."""

    process: subprocess.Popen[str]
    banner: str
    url: str
    log: Path

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://").rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def call(
        self, method: str, path: str, token: str | None = None, body: object = None
    ) -> tuple[int, Any]:
        with closing(HTTPConnection(self.host, self.port, timeout=60)) as connection:
            headers = {"Content-Type": "application/json"}
            if token is not None:
                headers["Authorization"] = f"Bearer {token}"
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            content = response.read()
            is_json = response.headers.get_content_type() == "application/json"
            return response.status, json.loads(content) if is_json else content

    def logged(self) -> str:
        return self.log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        every = [json.loads(line) for line in self.logged().splitlines()]
        return [each for each in every if each["event"] == name]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        return exit_status(self.process)

    def stop_after_its_last_word(self) -> float:
        """Stop it; return the seconds between what it logs last and the end of its process."""
        assert self.stop() == 0
        ended = time.time()
        (stopped,) = self.events("stopped")
        return ended - datetime.fromisoformat(stopped["timestamp"]).timestamp()


def end(process: subprocess.Popen[Any]) -> None:
    """Stop a server that may have stopped already; a second signal hurries it."""
    for seconds in (0.1, 60):
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
    assert process.poll() is not None


def handles(pid: int, number: signal.Signals) -> bool:
    """Say whether a process has a handler for a signal."""
    (caught,) = re.findall(
        r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE
    )
    return bool(int(caught, 16) >> (number - 1) & 1)


@contextmanager
def serving(*arguments: str, **variables: str) -> Iterator[Server]:
    variables = {"PISYNC_PORT": "0", "PISYNC_BCRYPT_COST": "4"} | variables
    with (
        tempfile.TemporaryDirectory() as folder,
        (log := Path(folder, "stderr")).open("w") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", "pisync", "serve", *arguments],
            cwd=ROOT,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            banner = ""
            while "/sync" not in banner:
                line = process.stdout.readline()
                assert line, log.read_text()
                banner += line
            (url,) = re.findall(r"listens on (http://\S+)", banner)
            yield Server(process, banner, url, log)
        finally:
            end(process)


class TestHelp:
    def test_lists_every_command(self) -> None:
        shown = pisync("--help")
        assert shown.returncode == 0
        commands = re.findall(r"^  ([a-z]+)  ", shown.stdout, re.MULTILINE)
        assert commands == ["apply", "check", "healthcheck", "load", "openapi", "serve", "token"]

    def test_of_serve_tells_every_setting_by_option_and_variable_and_default(self) -> None:
        words = " ".join(pisync("serve", "--help").stdout.split())
        for variable in VARIABLES:
            metavar = "PATH" if variable.is_path else "VALUE"
            assert f"{option_of(variable.names[0])} {metavar} {variable.meaning}" in words
            assert f"[{variable.names[0]}; default: {default_of(variable)}]" in words
            for name in variable.names[1:]:
                assert f"{option_of(name)} PATH" in words

    def test_version_is_the_projects(self) -> None:
        assert pisync("--version").stdout == f"pisync, version {__version__}\n"

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--help"],
            ["serve", "--help"],
            ["token", "--name", "ci"],
            ["healthcheck", "--port", "1"],
        ],
    )
    def test_and_small_commands_do_not_wait_for_the_server_to_be_imported(
        self, arguments: list[str]
    ) -> None:
        process = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "pisync", *arguments],
            cwd=ROOT,
            env=environment(PISYNC_JWT_SECRET=SECRET),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
        assert "pisync.cli.main" in imported
        assert not imported & {"aiohttp", "structlog", "bcrypt", "rich", "pisync.app"}


class TestCompletion:
    @pytest.mark.parametrize(
        ("words", "offered"),
        [
            ("pisync he", ["healthcheck"]),
            ("pisync serve --log-level ", ["debug", "info", "warning", "error", "critical"]),
            ("pisync serve --access-log o", ["on", "off"]),
            ("pisync serve --log-format j", ["json"]),
            ("pisync serve --jwt-secret-file ", ["file"]),
            ("pisync token --scope a", ["admin"]),
        ],
    )
    def test_offers_what_may_follow(self, words: str, offered: list[str]) -> None:
        process = subprocess.run(
            [sys.executable, "-m", "pisync"],
            cwd=ROOT,
            env=environment(
                _PISYNC_COMPLETE="bash_complete",
                COMP_WORDS=words,
                COMP_CWORD=str(len(words.split(" ")) - 1),
            ),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        found = [line.split(",") for line in process.stdout.splitlines()]
        assert [text or kind for kind, text in found] == offered


class TestMistakes:
    def test_are_all_reported_at_once_one_a_line(self) -> None:
        process = pisync(
            "serve",
            "--port",
            "80800",
            "--access-log=yes",
            PISYNC_PORT="9",
            PISYNC_HOST="",
            PISYNC_JWT_SECRET="short",
            PISYNC_PROFILE='{"sede": 7, "outcomes": [{"sync_status_code": 200, "weight": -1}]}',
        )
        assert (process.returncode, process.stdout) == (2, "")
        lines = process.stderr.splitlines()
        assert [line.partition(": ")[0] for line in lines] == [
            "PISYNC_HOST",
            "--port",
            "PISYNC_JWT_SECRET",
            "PISYNC_PROFILE",
            "PISYNC_PROFILE",
            "--access-log",
        ]
        assert sorted(line.split(": ")[1] for line in lines if "PROFILE" in line) == [
            "outcomes.0.weight",
            "sede",
        ]

    def test_are_json_where_logs_are(self, tmp_path: Path) -> None:
        missing = ("--store", f"sqlite:///{tmp_path}/missing/pisync.db")
        for arguments, reasons in (
            (("--port", "x", "--token-ttl", "0"), ["--port: must be", "--token-ttl: must be"]),
            (missing, [f"{tmp_path}/missing/pisync.db: there is no directory"]),
            (("--host", "192.0.2.1"), ["Can't listen on 192.0.2.1"]),
        ):
            for form in ("json", "auto"):
                process = pisync("serve", *arguments, PISYNC_LOG_FORMAT=form)
                assert (process.returncode, process.stdout) == (
                    2 if "x" in arguments or arguments == missing else 1,
                    "",
                )
                lines = [json.loads(line) for line in process.stderr.splitlines()]
                assert [line["event"] for line in lines] == ["can't start"] * len(reasons)
                for line, reason in zip(lines, reasons, strict=True):
                    assert line["reason"].startswith(reason)

    def test_in_how_it_is_called_have_the_same_status(self) -> None:
        for arguments in (["serve", "--prot", "1"], ["serve", "more"], ["sreve"]):
            process = pisync(*arguments)
            assert (process.returncode, process.stdout) == (2, "")
            assert "Traceback" not in process.stderr

    def test_a_secret_that_postgresql_misses_is_among_them(self) -> None:
        store = "postgresql://me:geheim@localhost/nothing"
        process = pisync("serve", PISYNC_STORE=store, PISYNC_PORT="x")
        assert (process.returncode, process.stdout) == (2, "")
        names = [line.partition(": ")[0] for line in process.stderr.splitlines()]
        assert names == ["PISYNC_PORT", "PISYNC_JWT_SECRET"]
        assert "geheim" not in process.stderr

    def test_that_only_the_start_finds_have_the_same_status(self, tmp_path: Path) -> None:
        process = pisync("serve", PISYNC_STORE=f"sqlite:///{tmp_path}/nowhere/pisync.db")
        assert (process.returncode, process.stdout) == (2, "")
        assert len(process.stderr.splitlines()) == 1

    def test_a_second_process_on_a_database_is_refused_by_whatever_name(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "link.db").symlink_to("pisync.db")
        with serving("--store", f"sqlite:///{tmp_path}/pisync.db"):
            for name in ("pisync.db", "link.db"):
                process = pisync("serve", "--port", "0", "--store", f"sqlite:///{tmp_path}/{name}")
                assert (process.returncode, process.stdout) == (2, "")
                assert process.stderr.strip().endswith("pisync.db: another process has it open")

    def test_an_address_in_use_is_another_status(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = str(taken.getsockname()[1])
            process = pisync("serve", "--port", port)
        assert (process.returncode, process.stdout) == (1, "")
        (line,) = process.stderr.splitlines()
        assert line == (
            f"Can't listen on 127.0.0.1 port {port}: Address already in use."
            " Choose another port with --port or PISYNC_PORT."
        )

    def test_an_address_in_use_is_found_before_a_password_is_drawn(self, tmp_path: Path) -> None:
        store = f"sqlite:///{tmp_path}/pisync.db"
        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            process = pisync("serve", f"--port={taken.getsockname()[1]}", "--store", store)
        assert process.returncode == 1
        with serving("--store", store) as server:
            assert "drawn now, shown only once" in server.banner

    def test_an_address_of_another_machine_too(self) -> None:
        process = pisync("serve", "--host", "192.0.2.1")
        assert (process.returncode, process.stdout) == (1, "")
        (line,) = process.stderr.splitlines()
        assert line == "Can't listen on 192.0.2.1 port 8080: Cannot assign requested address"

    def test_a_database_that_does_not_answer_is_named(self) -> None:
        place = "127.0.0.1:1/nothing"
        process = pisync(
            *("serve", "--port", "0"),
            PISYNC_JWT_SECRET=SECRET,
            PISYNC_STORE=f"postgresql://me:geheim@{place}",
        )
        assert (process.returncode, process.stdout) == (2, "")
        (line,) = process.stderr.splitlines()
        assert line.startswith("PostgreSQL: ")
        assert line.endswith(f" (postgresql://{place})")

    @pytest.mark.parametrize("secret", [{}, {"PISYNC_JWT_SECRET": SECRET}], ids=["drawn", "set"])
    def test_a_directory_that_is_missing_is_named(
        self, secret: dict[str, str], tmp_path: Path
    ) -> None:
        path = tmp_path / "missing" / "pisync.db"
        process = pisync("serve", "--port", "0", "--store", f"sqlite:///{path}", **secret)
        assert (process.returncode, process.stdout) == (2, "")
        assert process.stderr == f"{path}: there is no directory {path.parent}\n"

    def test_a_file_that_is_no_database_is_named_and_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "letter.txt"
        path.write_text("Dear all")
        process = pisync("serve", "--store", f"sqlite:///{path}")
        assert (process.returncode, process.stdout) == (2, "")
        assert process.stderr == f"{path}: file is not a database\n"
        assert path.read_text() == "Dear all"

    @pytest.mark.parametrize("command", [("token", "--name", "ci"), ("load",)])
    def test_nothing_is_written_beside_a_file_of_another_program(
        self, tmp_path: Path, command: tuple[str, ...]
    ) -> None:
        path = tmp_path / "theirs.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA application_id = 4711")
        process = pisync(*command, "--store", f"sqlite:///{path}")
        assert process.returncode == 2
        assert "belongs to another program" in process.stderr
        assert list(tmp_path.iterdir()) == [path]


class TestServe:
    def test_tells_what_it_serves_and_serves_it(self) -> None:
        with serving(PISYNC_PROFILE='{"seed": 4711}') as server:
            assert server.call("GET", "/livez")[0] == 200
            assert "seed 4711" in server.banner
            assert "10 devices" in server.banner
            (listening,) = server.events("listening")
            assert listening["urls"] == [server.url]
            assert (listening["store"], listening["devices"], listening["seed"]) == (
                "memory",
                10,
                4711,
            )

    def test_runs_on_uvloop_where_it_is_installed(self) -> None:
        with serving() as server:
            (listening,) = server.events("listening")
        assert listening["loop"] == ("asyncio.windows_events" if os.name == "nt" else "uvloop")

    def test_options_win_over_variables(self) -> None:
        with serving(
            "--port", "0", "--devices", "3", PISYNC_PORT="no", PISYNC_DEVICES="5"
        ) as server:
            assert "default: 3 devices" in server.banner

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
    def test_drains_and_ends_well_on_a_signal(self, number: signal.Signals) -> None:
        with serving() as server:
            assert server.stop(number) == 0
            assert server.events("stopped")

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for handlers")
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
    @pytest.mark.parametrize("seconds", [0, 0.1, 0.2, 0.4, 0.8])
    def test_a_signal_during_the_start_ends_it_well(
        self, number: signal.Signals, seconds: float
    ) -> None:
        # Measuring coverage has a handler of its own, before ours is there.
        own = environment(PISYNC_PORT="0")
        with subprocess.Popen(
            [sys.executable, "-m", "pisync", "serve", "--bcrypt-cost", "4"],
            cwd=ROOT,
            env={name: text for name, text in own.items() if not name.startswith("COVERAGE")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                # Python itself handles SIGINT from earlier on.
                while not handles(process.pid, signal.SIGTERM):
                    assert process.poll() is None
                    time.sleep(0.001)
                time.sleep(seconds)
                process.send_signal(number)
                status = exit_status(process)
                output = process.communicate()[0]
                assert status == 0, output
                assert "Traceback" not in output
            finally:
                end(process)

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has such a device")
    @pytest.mark.parametrize("streams", [">&- 2>&- <&-", ">&-", ">/dev/full", ">/dev/full 2>&1"])
    def test_serves_and_ends_well_though_nobody_can_be_told(self, streams: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        command = f'exec "$0" -m pisync serve --bcrypt-cost 4 --port {port} {streams}'
        process = subprocess.Popen(
            ["/bin/sh", "-c", command, sys.executable], cwd=ROOT, env=environment()
        )
        try:
            end_of_patience = time.monotonic() + 120
            while pisync("healthcheck", PISYNC_PORT=port).returncode:
                assert process.poll() is None
                assert time.monotonic() < end_of_patience
            process.terminate()
            assert exit_status(process) == 0
        finally:
            end(process)

    def test_a_hundred_open_streams_do_not_hold_up_the_end(self) -> None:
        with serving(PISYNC_JWT_SECRET=SECRET) as server, ExitStack() as opened:
            token = pisync("token", "--name", "me", PISYNC_JWT_SECRET=SECRET).stdout.strip()
            head = f"GET /events HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n\r\n"
            streams = []
            for _ in range(100):
                place = (server.host, server.port)
                stream = opened.enter_context(socket.create_connection(place, timeout=10))
                stream.sendall(head.encode())
                streams.append(stream)
            for stream in streams:
                assert stream.recv(4096).startswith(b"HTTP/1.1 200")
            assert server.stop() == 0
            for stream in streams:
                while stream.recv(4096):  # to its end, and not reset
                    pass

    def test_does_not_stay_for_passwords_that_nobody_waits_for(self) -> None:
        credentials = {"username": "nobody", "password": PASSWORD}
        with serving(PISYNC_BCRYPT_COST="15") as server, ThreadPoolExecutor(8) as clients:

            def log_in(_: int) -> None:
                with suppress(OSError, HTTPException):
                    server.call("POST", "/login", body=credentials)

            logins = [clients.submit(log_in, each) for each in range(8)]
            time.sleep(0.5)  # until they are being hashed: nothing shows it
            took = server.stop_after_its_last_word()
            for each in logins:
                each.result()
        with serving(PISYNC_BCRYPT_COST="15") as idle:
            usual = idle.stop_after_its_last_word()
        assert took < 0.5 + 3 * usual

    def test_warns_of_settings_that_come_too_late(self, tmp_path: Path) -> None:
        store = f"sqlite:///{tmp_path}/pisync.db"
        first = {"PISYNC_DEVICES": "3", "PISYNC_PROFILE": '{"seed": 7}'}
        for variables, names in (
            (first, []),
            (first, []),
            ({}, []),
            ({"PISYNC_PROFILE": '{"max_pending": 1}'}, ["PISYNC_PROFILE"]),
            (
                {"PISYNC_DEVICES": "500", "PISYNC_PROFILE": '{"seed": 8}'},
                ["PISYNC_DEVICES", "PISYNC_PROFILE"],
            ),
        ):
            with serving("--store", store, **variables) as server:
                event = "setting has no effect"
                assert [each["variable"] for each in server.events(event)] == names
                server.stop()

    def test_warns_of_unknown_variables(self) -> None:
        with serving(PISYNC_PROT="geheim", PISYNC_PORT_FILE="geheim") as server:
            warned = server.events("unknown variable")
            assert "geheim" not in server.logged()
        assert [(each["level"], each["variable"]) for each in warned] == [
            ("warning", "PISYNC_PORT_FILE"),
            ("warning", "PISYNC_PROT"),
        ]

    @pytest.mark.parametrize(
        ("container", "names"), [("pisync", ["PISYNC_HOST", "PISYNC_PORT"]), ("podman", [])]
    )
    def test_warns_in_its_image_of_what_nobody_outside_can_call(
        self, container: str, names: list[str]
    ) -> None:
        with serving("--host", "localhost", "--port", "0", container=container) as server:
            warned = server.events("can't be called from outside the container")
        assert [each["variable"] for each in warned] == names

    @pytest.mark.parametrize(("cost", "warnings"), [("9", 1), ("10", 0)])
    def test_warns_of_a_low_bcrypt_cost(self, cost: str, warnings: int) -> None:
        with serving(PISYNC_BCRYPT_COST=cost) as server:
            assert len(server.events("bcrypt cost is low")) == warnings

    def test_prints_the_password_it_drew_once_and_logs_it_nowhere(self) -> None:
        with serving("--log-level", "debug") as server:
            (password,) = re.findall(r"admin +password (\S+)", server.banner)
            credentials = {"username": "admin", "password": password}
            assert server.call("POST", "/login", body=credentials)[0] == 200
            server.stop()
            assert server.process.stdout is not None
            assert password not in server.process.stdout.read()
            assert password not in server.logged()
        assert server.banner.count(password) == 1

    def test_shows_no_secret_anywhere(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(f"{SECRET}\n")
        with serving(
            "--log-level=debug",
            "--access-log=on",
            PISYNC_JWT_SECRET_FILE=str(tmp_path / "secret"),
            PISYNC_ADMIN_PASSWORD=PASSWORD,
        ) as server:
            credentials = {"username": "admin", "password": PASSWORD}
            status, answer = server.call("POST", "/login", body=credentials)
            assert status == 200
            assert server.call("GET", "/devices?limit=1", answer["token"])[0] == 200
            bad = f"{answer['token'][:-4]}AAAA"
            assert server.call("GET", f"/devices?token={bad}", bad)[0] == 401
            server.stop()
            assert server.process.stdout is not None
            shown = server.banner + server.process.stdout.read() + server.logged()
            paths = [each["path"] for each in server.events("request")]
        for text in (SECRET, PASSWORD, answer["token"], bad, bad.split(".")[1]):
            assert text not in shown
        assert paths == ["/login", "/devices", "/devices"]

    def test_shows_colours_on_a_terminal_alone(self) -> None:
        with serving() as server:
            assert "\x1b" not in server.banner
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "pisync", "serve", "--port=0"],
            cwd=ROOT,
            env=environment(),
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        while b"/sync" not in shown:
            shown += os.read(ours, 10_000)
        end(process)
        os.close(ours)
        assert b"\x1b[1mhttp://" in shown
        assert b"[\x1b[32m\x1b[1minfo     \x1b[0m]" in shown


class TestToken:
    def test_is_one_that_the_server_takes(self) -> None:
        user = pisync("token", "--name", "ci", PISYNC_JWT_SECRET=SECRET)
        admin = pisync("token", "--name=ci", "--scope=admin", PISYNC_JWT_SECRET=SECRET)
        with serving(PISYNC_JWT_SECRET=SECRET) as server:
            assert server.call("GET", "/devices", user.stdout.strip())[0] == 200
            assert server.call("GET", "/devices", admin.stdout.strip())[0] == 403

    def test_is_signed_with_the_secret_that_is_kept_beside_a_database(self, tmp_path: Path) -> None:
        store = f"sqlite:///{tmp_path}/pisync.db"
        before = pisync("token", "--name", "ci", PISYNC_STORE=store)
        with serving("--store", store) as server:
            after = pisync("token", "--name", "ci", "--store", store)
            for process in (before, after):
                assert server.call("GET", "/devices", process.stdout.strip())[0] == 200

    def test_needs_a_place_to_keep_a_secret(self, tmp_path: Path) -> None:
        store = f"sqlite:///{tmp_path}/missing/pisync.db"
        process = pisync("token", "--name", "ci", "--store", store)
        assert (process.returncode, process.stdout) == (2, "")
        folder = tmp_path / "missing"
        assert process.stderr == f"{folder}/pisync.db: there is no directory {folder}\n"

    @pytest.mark.parametrize("kept", [b"", b"31 bytes, which is one too few.\n", b"\xff" * 40])
    @pytest.mark.parametrize("command", [("serve", "--port", "0"), ("token", "--name", "ci")])
    def test_refuses_a_kept_secret_that_is_none(
        self, kept: bytes, command: tuple[str, ...], tmp_path: Path
    ) -> None:
        (tmp_path / "pisync.db.secret").write_bytes(kept)
        process = pisync(*command, "--store", f"sqlite:///{tmp_path}/pisync.db")
        assert (process.returncode, process.stdout) == (2, "")
        assert "pisync.db.secret: must hold 32 bytes" in process.stderr
        assert len(process.stderr.splitlines()) == 1

    def test_says_what_was_asked_for(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(f"{SECRET}\n")
        process = pisync(
            *("token", "--name", "Ada B.", "--scope", "devices", "--scope", "admin", "--ttl", "60"),
            PISYNC_JWT_SECRET_FILE=str(tmp_path / "secret"),
        )
        assert (process.returncode, process.stderr) == (0, "")
        claims = jwt.decode(process.stdout.strip(), SECRET, ["HS256"])
        assert claims["exp"] - claims["iat"] == 60
        assert (claims["sub"], claims["scopes"]) == ("Ada B.", ["devices", "admin"])
        assert claims["iss"] == "pisync"

    def test_is_bound_to_a_fleet(self) -> None:
        process = pisync(
            *(
                "token",
                "--name",
                "ci",
                "--fleet",
                "job-1",
                "--scope",
                "admin",
                "--scope",
                "devices",
            ),
            PISYNC_JWT_SECRET=SECRET,
        )
        bound = process.stdout.strip()
        with serving(PISYNC_JWT_SECRET=SECRET) as server:
            assert server.call("PUT", "/admin/fleets/job-1", bound, {"devices": 3})[0] == 201
            assert server.call("GET", "/stats", bound)[1]["devices"] == 3
            assert server.call("GET", "/fleets/default/stats", bound)[0] == 403
            assert server.call("GET", "/admin/fleets", bound)[0] == 403
            assert server.call("DELETE", "/admin/fleets/job-1", bound)[0] == 204

    @pytest.mark.parametrize("fleet", ["", "Job", "a_b", "-a", "a b", "s" * 64])
    def test_is_bound_to_nothing_that_is_no_fleet(self, fleet: str) -> None:
        process = pisync("token", "--name", "ci", "--fleet", fleet, PISYNC_JWT_SECRET=SECRET)
        assert (process.returncode, process.stdout) == (2, "")
        assert "--fleet: must be" in process.stderr

    def test_is_valid_as_long_as_the_setting_says_if_nothing_else_is_said(self) -> None:
        for variables, seconds in (({}, 3600), ({"PISYNC_TOKEN_TTL": "7"}, 7)):
            process = pisync("token", "--name", "ci", PISYNC_JWT_SECRET=SECRET, **variables)
            claims = jwt.decode(process.stdout.strip(), SECRET, ["HS256"])
            assert claims["exp"] - claims["iat"] == seconds
            assert claims["scopes"] == ["devices"]

    def test_needs_the_secret(self) -> None:
        process = pisync("token", "--name", "ci")
        assert (process.returncode, process.stdout) == (2, "")
        assert "PISYNC_JWT_SECRET" in process.stderr
        assert "PISYNC_JWT_SECRET_FILE" in process.stderr

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--name", ""],
            ["--name", "x" * 65],
            ["--name", "a\nb"],
            ["--name", "ci", "--scope", "device"],
            ["--name", "ci", "--ttl", "0"],
            ["--name", "ci", "--ttl", "1e3"],
            ["--name", "ci", "--ttl", "9" * 20],
        ],
        ids=lambda arguments: ascii(arguments)[:40],
    )
    def test_is_not_made_of_mistakes(self, arguments: list[str]) -> None:
        process = pisync("token", *arguments, PISYNC_JWT_SECRET=SECRET)
        assert (process.returncode, process.stdout) == (2, "")
        assert "Traceback" not in process.stderr

    def test_tells_mistakes_in_settings(self) -> None:
        process = pisync("token", "--name", "ci", PISYNC_JWT_SECRET="short", PISYNC_TOKEN_TTL="0")
        assert (process.returncode, process.stdout) == (2, "")
        assert len(process.stderr.splitlines()) == 2


class TestOpenapi:
    def test_prints_the_document_that_the_server_serves(self) -> None:
        process = pisync("openapi")
        assert (process.returncode, process.stderr) == (0, "")
        with serving() as server:
            assert server.call("GET", "/openapi.json") == (200, json.loads(process.stdout))


class _Unready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/readyz" else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class TestHealthcheck:
    @pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])  # noqa: S104 - a test
    def test_is_well_if_the_service_is_ready(self, host: str) -> None:
        with serving("--host", host) as server:
            port = str(server.port)
            by_variables = pisync("healthcheck", PISYNC_HOST=host, PISYNC_PORT=port)
            by_options = pisync("healthcheck", "--host", host, "--port", port)
        assert [by_variables.returncode, by_options.returncode] == [0, 0]
        assert by_variables.stdout == by_variables.stderr == ""

    def test_knows_the_options_of_a_container_s_first_process(self) -> None:
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if (
            shutil.which("nsenter") is None
            or subprocess.run([*command, "true"], check=False).returncode
        ):
            pytest.skip("needs unshare and nsenter, and leave to make a namespace of processes")
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        serve = [sys.executable, "-m", "pisync", "serve", "--port", str(port), "--bcrypt-cost=4"]
        with subprocess.Popen(
            [*command, *serve],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline()
                (first,) = (
                    Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                )
                inside = [
                    "nsenter",
                    "--target",
                    first,
                    "--pid",
                    "--mount",
                    sys.executable,
                    "-m",
                    "pisync",
                ]
                for arguments, status in (([], 0), (["--port", "1"], 1)):
                    done = subprocess.run(
                        [*inside, "healthcheck", *arguments],
                        cwd=ROOT,
                        env=environment(PISYNC_PORT="2"),
                        capture_output=True,
                        check=False,
                    )
                    assert done.returncode == status, done.stderr
            finally:
                process.kill()

    def test_fails_if_the_service_is_not_ready(self) -> None:
        with HTTPServer(("127.0.0.1", 0), _Unready) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            process = pisync("healthcheck", "--port", str(server.server_port))
            thread.join()
        assert (process.returncode, process.stdout) == (1, "")
        url = f"http://127.0.0.1:{server.server_port}/readyz"
        assert process.stderr == f"Not ready: {url} answers 503\n"

    def test_fails_if_nobody_listens(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as gone:
            port = str(gone.getsockname()[1])
        process = pisync("healthcheck", "--port", port)
        assert (process.returncode, process.stdout) == (1, "")
        assert process.stderr.startswith(f"No answer from http://127.0.0.1:{port}: ")

    def test_fails_if_there_is_no_answer_in_time(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as silent:
            began = time.monotonic()
            process = pisync("healthcheck", "--port", str(silent.getsockname()[1]))
        assert process.returncode == 1
        assert "timed out" in process.stderr
        assert 3 <= time.monotonic() - began < 20

    def test_tells_mistakes_in_settings(self) -> None:
        process = pisync("healthcheck", PISYNC_PORT="x")
        assert (process.returncode, process.stdout) == (2, "")
        assert process.stderr == "PISYNC_PORT: must be a whole number from 0 to 65535, not 'x'\n"
