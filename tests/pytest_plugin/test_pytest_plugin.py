"""The plugin as the suites of other projects meet it."""

import re
import subprocess
import sys

import pytest

from pisync.client import FleetClient
from pisync.in_process import (
    SEED,
    RunningServer,
)
from tests.support.paths import ROOT

pytest_plugins = ["pytester"]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project whose tests run in a process of their own, where a warning is an error."""
    # What else is installed here would take longer to load than the tests take.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p pisync -W error --strict-markers")
    return pytester


def test_gives_a_fleet_a_token_and_what_the_code_under_test_must_send(
    pisync: FleetClient, pisync_server: RunningServer
) -> None:
    assert pisync.url == pisync_server.url
    assert pisync.headers == {
        "Authorization": f"Bearer {pisync.token}",
        "Pisync-Fleet": pisync.fleet,
    }
    view = pisync.view()
    assert (view.name, view.devices, view.seed) == (pisync.fleet, 10, SEED)


@pytest.mark.pisync(devices=4, profile={"seed": 6})
class TestMarker:
    def test_says_what_the_fleet_is_made_of(self, pisync: FleetClient) -> None:
        assert (pisync.view().devices, pisync.view().seed) == (4, 6)

    @pytest.mark.pisync(devices=[{"device_id": 77}])
    def test_closest_to_the_test_wins_argument_by_argument(self, pisync: FleetClient) -> None:
        assert [each.device_id for each in pisync.devices()] == [77]
        assert pisync.view().seed == 6


@pytest.mark.parametrize(
    ("marker", "complaint"),
    [("device=3", "*unexpected keyword argument 'device'*"), ("3", "*no unnamed arguments: (3,)*")],
)
def test_a_marker_with_a_mistake_says_so(
    project: pytest.Pytester, marker: str, complaint: str
) -> None:
    project.makepyfile(f"import pytest\n\n@pytest.mark.pisync({marker})\ndef test_it(pisync): pass")
    result = project.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([complaint])


def test_every_test_has_a_fleet_of_its_own_on_one_server(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        seen = {}

        @pytest.mark.parametrize("time", range(3))
        def test_it(pisync, time):
            assert pisync.stats().attempts == 0
            pisync.sync_all()
            seen[pisync.fleet] = pisync.url

        def test_then(pisync_server):
            assert len(seen) == 3
            assert set(seen.values()) == {pisync_server.url}
            for name in seen:
                with pytest.raises(Exception, match="404: There is no such fleet"):
                    pisync_server.client(name).view()
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=4)


def test_accounts_and_failed_logins_of_one_test_are_none_of_the_next_s(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        """
        import json
        from urllib.error import HTTPError
        from urllib.request import Request, urlopen

        import pytest

        def post(url, **body):
            headers = {"Content-Type": "application/json"}
            try:
                with urlopen(Request(url, json.dumps(body).encode(), headers)) as answer:
                    return answer.status
            except HTTPError as refused:
                with refused:
                    return refused.code

        @pytest.fixture(scope="module", autouse=True)
        def bob(pisync_server):
            account = {"username": "bob", "password": "correct horse"}
            assert post(f"{pisync_server.url}/register", **account) == 201

        @pytest.mark.parametrize("time", range(2))
        def test_it(pisync, time):
            alice = {"username": "alice", "password": "correct horse"}
            assert post(f"{pisync.url}/login", **alice) == 401
            assert post(f"{pisync.url}/register", **alice) == 201
            assert post(f"{pisync.url}/login", **alice | {"username": "bob"}) == 200
            for _ in range(9):
                assert post(f"{pisync.url}/login", username="alice", password="wrong") == 401
            assert post(f"{pisync.url}/login", **alice) == 429
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=2)


def test_a_fleet_may_live_as_long_as_a_fixture_of_a_wider_scope(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="module")
        def fleet(pisync_server):
            with pisync_server.new_fleet(devices=3) as fleet:
                yield fleet

        @pytest.mark.parametrize("attempts", [0, 3])
        def test_it(fleet, attempts):
            assert fleet.stats().attempts == attempts
            fleet.sync_all()
            fleet.settle()
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("imported", "moved"),
    [
        ("import freezegun", "freezegun.freeze_time('2031-01-01')"),
        ("import freezegun", "freezegun.freeze_time('2031-01-01', tick=True)"),
        ("import time_machine", "time_machine.travel('2031-01-01', tick=False)"),
        ("import time_machine", "time_machine.travel('1999-01-01')"),
    ],
    ids=["frozen", "moved", "machine-frozen", "machine-moved"],
)
def test_a_test_that_moves_the_clock_moves_no_fleet(
    project: pytest.Pytester, imported: str, moved: str
) -> None:
    project.makepyfile(
        f"""
        import time
        from datetime import datetime
        {imported}

        def syncs(pisync):
            pisync.sync(1)
            assert pisync.settle().finished == 1
            pisync.change_profile({{"delay": {{"distribution": "constant", "seconds": 0.05}}}})
            attempt = pisync.sync(1).attempt
            for _ in range(2000):
                if not pisync.device(1).is_pending:
                    return pisync.view().clock.now
            raise AssertionError("it does not finish")

        def test_before(pisync):
            syncs(pisync)

        def test_moved(pisync):
            before = pisync.view().clock.now
            with {moved}:
                assert time.gmtime().tm_year in (1999, 2031)
                after = syncs(pisync)
            assert 0 < (after - before).total_seconds() < 60

        def test_after(pisync):
            syncs(pisync)
        """
    )
    project.runpytest_subprocess("-W", "ignore::DeprecationWarning").assert_outcomes(passed=3)


def test_a_proxy_for_everything_else_is_not_asked(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "example.org")
    project.makepyfile(
        """
        import os
        from urllib.request import Request, urlopen

        def test_it(pisync):
            with urlopen(Request(f"{pisync.url}/stats", headers=pisync.headers)) as answer:
                assert answer.status == 200
            assert os.environ["no_proxy"] == "example.org,127.0.0.1"
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_works_in_async_tests_and_threads_are_gone_at_the_end(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    project.makeconftest(
        """
        import threading

        def pytest_unconfigure():
            for thread in threading.enumerate():
                if thread is not threading.main_thread():
                    thread.join(5)
                    assert not thread.is_alive(), thread
        """
    )
    project.makepyfile(
        """
        async def test_it(pisync):
            assert pisync.sync(1).attempt == 1
        """
    )
    result = project.runpytest_subprocess("-p", "asyncio", "--asyncio-mode=auto")
    result.assert_outcomes(passed=1)
    assert result.ret == 0


def test_works_with_xdist_one_server_a_worker(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("time", range(6))
        def test_it(pisync, time):
            pisync.sync_all()
            assert pisync.settle().finished == 10
            assert pisync.ledger().balanced
        """
    )
    result = project.runpytest_subprocess("-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=6)


def test_what_the_server_logs_is_seen_in_pytests_logs_and_nowhere_else(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        """
        from dataclasses import replace

        import pytest

        def test_it(pisync, capfd, caplog):
            caplog.set_level("INFO")
            with pytest.raises(Exception, match="401"):
                replace(pisync, token="no token").devices()
            assert capfd.readouterr() == ("", "")
            assert caplog.record_tuples[0][:2] == ("pisync", 20)
            assert caplog.messages[0].startswith("event='token refused' reason=")
        """
    )
    result = project.runpytest_subprocess("-s")
    result.assert_outcomes(passed=1)
    assert "draining" not in result.stdout.str() + result.stderr.str()


def test_starts_nothing_and_imports_nothing_until_a_test_asks(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_it():
            ours = {name for name in sys.modules if name.partition(".")[0] == "pisync"}
            assert ours == {"pisync", "pisync.pytest_plugin"}
        """
    )
    project.runpytest_subprocess().assert_outcomes(passed=1)
    statements = "import sys, pytest; had = {*sys.modules}; import pisync.pytest_plugin"
    imported = subprocess.run(
        [sys.executable, "-c", f"{statements}; print(*sorted({{*sys.modules}} - had))"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert imported.stdout.split() == ["pisync", "pisync.pytest_plugin"]


def test_takes_no_fixture_names_but_two(project: pytest.Pytester) -> None:
    shown = project.runpytest_subprocess("--fixtures", "-q").stdout.str()
    ours = re.findall(r"^(\w+).* -- \S*pisync/pytest_plugin/__init__\.py", shown, re.MULTILINE)
    assert ours == ["pisync_server", "pisync"]


def test_a_failed_test_shows_its_fleets_seed_and_last_requests(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        def test_it(pisync):
            pisync.sync(7)
            assert not pisync.device(7)
        """
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*PiSync fleet *",
            f"seed {SEED}; the last requests, newest first:",
            "#2 GET /devices/7 by *: 200",
            "#1 POST /devices/7/sync by *: 202, attempt 1",
        ]
    )


def test_the_fleet_of_a_failed_test_is_kept_and_gone_on_with(project: pytest.Pytester) -> None:
    page = (ROOT / "docs/pytest.md").read_text()
    section = page.partition("## From a failed test in CI to your desk\n")[2].partition("\n## ")[0]
    hook, at_the_desk = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    project.makeconftest(hook)
    project.makepyfile(
        """
        def test_fails(pisync):
            pisync.manual_clock()
            pisync.sync(7)
            assert not pisync.device(7).is_pending

        def test_passes(pisync):
            pisync.sync(7)
        """
    )
    failed = project.runpytest_subprocess()
    failed.assert_outcomes(failed=1, passed=1)
    failed.stdout.fnmatch_lines(["*PiSync snapshot*", "pisync-snapshots/*.ndjson"])
    project.runpytest_subprocess(project.makepyfile(test_desk=at_the_desk)).assert_outcomes(
        passed=1
    )
