"""Logging is configured once for a process, so each of these tests has one of its own."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

SETUP = """
import asyncio, logging, os, sys, warnings
from http import HTTPStatus
from multidict import CIMultiDict
from pisync.telemetry import logs
log = logs.get_logger()
"""
CONFIGURED = f"{SETUP}logs.configure(sys.argv[1], sys.argv[2])\n"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


def logged(
    statements: str,
    form: str = "json",
    level: str = "info",
    *,
    setup: str = CONFIGURED,
    stderr: Any = subprocess.PIPE,
) -> str:
    """Run statements in a process that logs; return what came to its stderr."""
    process = subprocess.run(
        [sys.executable, "-c", setup + statements, level, form],
        cwd=ROOT,
        check=True,
        timeout=120,
        stderr=stderr,
    )
    return (process.stderr or b"").decode()


def events(statements: str, level: str = "info") -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(statements, level=level).splitlines()]


def event(statements: str) -> dict[str, Any]:
    (only,) = events(statements)
    return only


class TestJson:
    def test_is_one_line_an_event_with_the_contracts_timestamp(self) -> None:
        first, second = events("log.info('one', n=1, ratio=0.5, none=None); log.error('two')")
        assert re.fullmatch(STAMP, first.pop("timestamp"))
        assert first == {"level": "info", "event": "one", "n": 1, "ratio": 0.5, "none": None}
        assert list(second) == ["timestamp", "level", "event"]
        assert second["level"] == "error"

    def test_stays_one_line_whatever_is_logged(self) -> None:
        text = "a\\nb\\r\\x1b[2J\\x85\\u2028\\x00\\u202e"
        line = logged(f"log.info('{text}', value='{text}')")
        assert len(line.splitlines()) == 1
        assert line.isascii()
        assert json.loads(line)["value"] == json.loads(line)["event"] == eval(f"'{text}'")  # noqa: S307

    def test_is_valid_whatever_is_logged(self) -> None:
        shown = event(
            "log.info('x', nan=float('nan'), inf=float('-inf'), half='\\udc80', data=b'\\xff',"
            " path=sys.path.__class__, many={1}, deep={1: [None, {2: 3.5}]})"
        )
        del shown["timestamp"], shown["level"], shown["event"]
        assert shown == {
            "nan": "nan",
            "inf": "-inf",
            "half": "\\udc80",
            "data": "b'\\xff'",
            "path": "<class 'list'>",
            "many": [1],
            "deep": {"1": [None, {"2": 3.5}]},
        }


class TestText:
    def test_is_readable(self) -> None:
        line = logged("log.info('ended', status=HTTPStatus.OK, store='memory', ok=True)", "text")
        assert re.fullmatch(rf"{STAMP} \[info +\] ended +status=200 store='memory' ok=True\n", line)

    def test_lets_no_value_forge_a_line_or_move_the_cursor(self) -> None:
        forged = "\\n2026-11-22 [error] forged\\r\\x1b[2J\\u2028\\u202e\\x9b\\x7f"
        lines = logged(f"log.info('{forged}'); log.info('x', value='{forged}')", "text")
        assert len(lines.splitlines()) == 2
        for line in lines.splitlines():
            assert line.isprintable()
            assert r"\n2026-11-22 [error] forged\r\x1b[2J\u2028\u202e\x9b\x7f" in line

    def test_sets_a_tracebacks_lines_off(self) -> None:
        lines = logged(
            "try: raise ValueError('a\\n2026-11-22 forged \\x1b[2J')\n"
            "except ValueError: log.exception('broken')",
            "text",
        ).splitlines()
        assert lines[0].endswith("[error    ] broken")
        assert lines[1] == "    Traceback (most recent call last):"
        assert lines[-1] == r"    2026-11-22 forged \x1b[2J"
        assert all(line.startswith("    ") and line.isprintable() for line in lines[1:])


class TestAuto:
    def test_is_json_unless_on_a_terminal(self) -> None:
        assert json.loads(logged("log.info('x')", "auto"))["event"] == "x"

    def test_is_text_on_a_terminal(self) -> None:
        ours, theirs = pty.openpty()
        logged("log.info('hello')", "auto", stderr=theirs)
        os.close(theirs)
        shown = os.read(ours, 10_000).decode()
        os.close(ours)
        assert "hello" in shown
        assert "\x1b[" in shown
        assert '"event"' not in shown


class TestLevel:
    def test_what_is_below_it_is_not_logged(self) -> None:
        statements = "\n".join(
            f"log.{level}('x'); logging.getLogger('other').{level}('x')"
            for level in ("debug", "info", "warning", "error", "critical")
        )
        for skipped, level in enumerate(("debug", "info", "warning", "error", "critical")):
            assert len(events(statements, level)) == 2 * (5 - skipped)

    def test_what_is_below_it_is_not_even_formatted(self) -> None:
        assert events("log.debug('%d', 'no number', value=1)") == []


class TestLibraries:
    def test_come_in_the_same_form(self) -> None:
        shown = event("logging.getLogger('aiohttp.server').warning('bad %s', 'x\\ny')")
        assert re.fullmatch(STAMP, shown.pop("timestamp"))
        assert shown == {"level": "warning", "event": "bad x\ny", "logger": "aiohttp.server"}

    def test_forge_no_line_either(self) -> None:
        lines = logged("logging.getLogger('asyncio').error('a\\n\\x1bb')", "text").splitlines()
        assert len(lines) == 1
        assert r"a\n\x1bb" in lines[0]

    def test_errors_of_the_event_loop_are_one_event(self) -> None:
        shown = event(
            "async def main():\n"
            "    asyncio.get_running_loop().call_soon(lambda: 1 / 0)\n"
            "    await asyncio.sleep(0)\n"
            "asyncio.run(main())"
        )
        assert shown["logger"] == "asyncio"
        assert shown["exception"].endswith("ZeroDivisionError: division by zero")

    def test_warnings_are_events(self) -> None:
        shown = event("warnings.warn('careful')")
        assert shown["level"] == "warning"
        assert "UserWarning: careful" in shown["event"]

    def test_that_tell_too_much_are_silent(self) -> None:
        names = ["aiohttp_jwt.middleware", "aiohttp.access"]
        assert events(f"for n in {names}: logging.getLogger(n).critical('x')", "debug") == []


class TestException:
    def test_is_one_event_with_its_traceback_in_a_field(self) -> None:
        shown = event("try: 1 / 0\nexcept ZeroDivisionError: log.exception('broken', n=1)")
        assert (shown["level"], shown["event"], shown["n"]) == ("error", "broken", 1)
        assert shown["exception"].startswith("Traceback (most recent call last):\n")
        assert shown["exception"].endswith("ZeroDivisionError: division by zero")

    def test_shows_no_local_variables(self) -> None:
        shown = event(
            "pw = 'geh' + 'eim'\ntry: 1 / 0\nexcept ZeroDivisionError: log.exception('x')"
        )
        assert "geheim" not in shown["exception"]


class TestSecrets:
    def test_are_hidden_by_their_names(self) -> None:
        names = ["password", "token", "Authorization", "jwt_secret", "new_password", "Cookie"]
        loop = f"for name in {names}:"
        shown = events(f"{loop} log.info('x', **{{name: 'a'}}, deep=[{{name: {{'x': 'b'}}}}])")
        for name, each in zip(names, shown, strict=True):
            assert (each[name], each["deep"]) == ("***", [{name: "***"}])

    def test_are_hidden_within_texts_if_they_are_tokens(self) -> None:
        statements = [
            f"log.info('{JWT}')",
            f"log.info('sent %s', '{JWT}')",
            f"log.info('x', value='?token={JWT}&x=1')",
            "log.info('x', headers=CIMultiDict(Accept='*', authorization='Bearer c2lnbmF0dXJl'))",
            "log.info('x', value=ValueError('Authorization: bearer c2lnbmF0dXJl'))",
            f"log.info('x', exc_info=ValueError('{JWT}'))",
            f"logging.getLogger('aiohttp.server').error('%s', '{JWT}')",
        ]
        shown = logged("\n".join(statements))
        assert shown.count("***") == len(shown.splitlines()) == len(statements)
        assert "c2lnbmF0dXJl" not in shown

    def test_are_hidden_within_urls_of_databases(self) -> None:
        shown = event("log.info('x', exc_info=OSError('postgresql://me:geheim@host/db'))")
        assert shown["exception"] == "OSError: postgresql://***@host/db"

    def test_hide_nothing_else(self) -> None:
        texts = ["GET /devices?a=b", "http://host:80/a@b", "a bearer", "e.y.e"]
        shown = events(f"for text in {texts}: log.info(text, path=text)")
        assert [each["event"] for each in shown] == texts
        assert [each["path"] for each in shown] == texts


class TestOutput:
    def test_that_is_closed_harms_nobody_who_logs(self) -> None:
        assert logged("sys.stderr.close(); log.info('x'); logging.error('x')") == ""

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full (Linux)")
    def test_that_is_full_harms_nobody_who_logs(self) -> None:
        with Path("/dev/full").open("wb") as full:
            logged(
                "for _ in range(10_000): log.info('x'); logging.error('x')\n"
                # Python would complain, at its end, of what it can't flush.
                "os._exit(0)",
                stderr=full,
            )

    def test_is_stderr_alone(self) -> None:
        process = subprocess.run(
            [
                sys.executable,
                "-c",
                f"{CONFIGURED}log.info('x'); logging.warning('x')",
                "info",
                "json",
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=120,
        )
        assert process.stdout == b""
        assert len(process.stderr.splitlines()) == 2


class TestEventLogger:
    """For what happens often: faster, and no other in what it writes."""

    WRITE = (
        "log_it = logs.get_event_logger('request')\n"
        f"for path in ['/a', '/é\\x1b', '/\\udc80', '/{JWT}', 'db://a:b@c', 'a\\nb\\x7f']:\n"
        "    log_it(path=path, status=HTTPStatus.OK, seconds=0.25)\n"
        "    log.info('request', path=path, status=HTTPStatus.OK, seconds=0.25)\n"
    )

    def test_writes_what_a_logger_writes(self) -> None:
        shown = events(self.WRITE)
        for each in shown:
            assert re.fullmatch(STAMP, each.pop("timestamp"))
        assert shown[::2] == shown[1::2]
        assert [each["path"] for each in shown[6::2]] == ["/***", "db://***@c", "a\nb\x7f"]

    def test_writes_lines_together_a_moment_later_and_the_last_at_the_end(self) -> None:
        shown = events(
            "import asyncio\n"
            "writes = []\n"
            "write = sys.stderr.write\n"
            "sys.stderr.write = lambda text: (writes.append(text), write(text))\n"
            "log_it = logs.get_event_logger('request')\n"
            "async def moments():\n"
            "    log_it(path='a')\n"
            "    await asyncio.sleep(0)\n"
            "    log_it(path='b')\n"
            "    while not writes: await asyncio.sleep(0.001)\n"
            "    log_it(path=str(len(writes)))\n"
            "asyncio.run(moments())\n"
        )
        assert [each["path"] for each in shown] == ["a", "b", "1"]

    def test_keeps_the_order_whatever_is_in_a_line(self) -> None:
        shown = events(
            "import asyncio\n"
            "log_it = logs.get_event_logger('request')\n"
            "async def moments():\n"
            "    for path in ['a', '/é', '/\\udc80', 'b']:\n"
            "        log_it(path=path)\n"
            "asyncio.run(moments())\n"
        )
        assert [each["path"] for each in shown] == ["a", "/é", "/\\udc80", "b"]
        stamps = [each["timestamp"] for each in shown]
        assert stamps == sorted(stamps)

    def test_keeps_lines_apart_whatever_ends_or_begins_like_one(self) -> None:
        paths = ["},{", '},{"timestamp":"', '"},{"timestamp":"', ",{", '{"timestamp":"', "\\"]
        shown = events(
            "import asyncio\n"
            "log_it = logs.get_event_logger('request')\n"
            "async def moments():\n"
            f"    for path in {paths}:\n"
            "        log_it(path=path, last=path)\n"
            "asyncio.run(moments())\n"
        )
        assert [(each["path"], each["last"]) for each in shown] == [*zip(paths, paths, strict=True)]

    def test_writes_text_as_a_logger_does(self) -> None:
        lines = [line.split(" ", 1)[1] for line in logged(self.WRITE, "text").splitlines()]
        assert len(lines) == 12
        assert lines[::2] == lines[1::2]

    def test_writes_nothing_that_is_below_the_level(self) -> None:
        assert events(self.WRITE, "warning") == []


class TestWithinAnotherProgram:
    def test_goes_to_the_standard_librarys_logger_until_it_is_configured(self) -> None:
        shown = logged(
            "logging.basicConfig(level='INFO')\n"
            f"log.info('one', password='geheim', text='{JWT}', n=1); log.debug('two')\n"
            "try: 1 / 0\n"
            "except ZeroDivisionError: log.exception('three')",
            setup=SETUP,
        )
        first, second = shown.splitlines()
        assert first == "INFO:pisync:event='one' password='***' text='***' n=1"
        assert second.startswith("ERROR:pisync:event='three' exception='Traceback ")

    def test_loggers_that_are_there_already_change_when_it_is_configured(self) -> None:
        before = "log.error('early')\nlogs.configure(sys.argv[1], sys.argv[2])\n"
        early, late = logged("log.error('late')", setup=SETUP + before).splitlines()
        assert early == "event='early'"
        assert json.loads(late)["event"] == "late"
