"""Releasing a version, in a scratch repository."""

import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tools import release

CHANGES = """# Changes

## [Unreleased]

The next release is 0.2.0.

### Added

- Something.

## [0.1.0] - 2026-11-25

- The first.
"""


def git(*arguments: str | Path) -> str:
    command = ["git", "-c", "user.name=Tester", "-c", "user.email=tester@localhost", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, of a version and a changelog."""
    monkeypatch.chdir(tmp_path)
    for variable in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{variable}_NAME", "Tester")
        monkeypatch.setenv(f"{variable}_EMAIL", "tester@localhost")
    git("init", "--quiet")
    release.VERSION_FILE.parent.mkdir()
    release.VERSION_FILE.write_text('"""PiSync."""\n\n__version__ = "0.1.0"\n')
    for path in release.NPM_FILES:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, path)
    release.CHANGELOG.write_text(CHANGES)
    git("add", ".")
    git("commit", "--quiet", "--message", "First")
    return tmp_path


@pytest.mark.usefixtures("repository")
class TestChecks:
    def test_a_newer_version_is_good(self) -> None:
        release.check("0.2.0")
        release.check("0.2.0rc1")

    @pytest.mark.parametrize("version", ["0.1.0", "0.0.9", "", "v0.2.0", "0.2", "next", "1!0.2.0"])
    def test_any_other_is_refused(self, version: str) -> None:
        with pytest.raises(release.ReleaseError, match=r"newer than 0\.1\.0"):
            release.check(version)

    def test_a_tree_with_changes_is_refused(self) -> None:
        release.CHANGELOG.write_text("")
        with pytest.raises(release.ReleaseError, match="not committed"):
            release.check("0.2.0")

    def test_a_version_that_has_a_tag_is_refused(self) -> None:
        git("tag", "v0.2.0")
        with pytest.raises(release.ReleaseError, match=r"tag v0\.2\.0 exists"):
            release.check("0.2.0")

    def test_a_release_without_changes_is_refused(self) -> None:
        release.CHANGELOG.write_text(CHANGES.replace("### Added\n\n- Something.\n\n", ""))
        git("commit", "--quiet", "--all", "--message", "Nothing new")
        with pytest.raises(release.ReleaseError, match="nothing under"):
            release.check("0.2.0")


@pytest.mark.usefixtures("repository")
def test_the_changes_move_below_a_heading_of_the_version() -> None:
    release.write_changelog("0.2.0", datetime.date(2026, 12, 1))
    assert release.CHANGELOG.read_text() == (
        "# Changes\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- Something.\n\n"
        "## [0.1.0] - 2026-11-25\n\n- The first.\n"
    )


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("version", "npm_version"), [("0.2.0", "0.2.0"), ("0.2.0rc1", "0.2.0-rc.1")]
)
def test_the_version_is_the_npm_packages_too(version: str, npm_version: str) -> None:
    release.write_version(version)
    assert release.current_version() == version
    package, lock = (json.loads(path.read_text()) for path in release.NPM_FILES)
    assert package.pop("version") == npm_version
    assert lock.pop("version") == lock["packages"][""].pop("version") == npm_version
    # Nothing else has changed.
    before_package, before_lock = (
        json.loads((ROOT / path).read_text()) for path in release.NPM_FILES
    )
    del before_package["version"], before_lock["version"], before_lock["packages"][""]["version"]
    assert (package, lock) == (before_package, before_lock)


@pytest.mark.usefixtures("repository")
def test_a_release_that_fails_leaves_nothing_behind() -> None:
    before = git("rev-parse", "HEAD")
    # There is nothing here that could be built.
    with pytest.raises(subprocess.CalledProcessError):
        release.release("0.2.0", with_image=False)
    assert git("rev-parse", "HEAD") == before
    assert git("tag", "--list") == git("status", "--porcelain") == ""
    assert release.current_version() == "0.1.0"


@pytest.mark.slow
def test_what_is_released_installs_and_starts_in_a_fresh_environment(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = repository / "clone"
    git("clone", "--quiet", ROOT, copy)
    monkeypatch.chdir(copy)
    # What is tested is the working tree, committed or not.
    for path in git("-C", ROOT, "ls-files", "--modified", "--others", "--exclude-standard").split():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_bytes((ROOT / path).read_bytes())
    release.CHANGELOG.write_text(CHANGES)
    git("add", ".")
    git("commit", "--quiet", "--message", "As it is")
    done = subprocess.run(
        [sys.executable, "-m", "tools.release", "99.0.0", "--without-image"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("installs and starts in a fresh environment") == 2
    assert git("tag", "--list") == "v99.0.0"
    assert git("status", "--porcelain") == ""
    assert {path.suffix for path in release.DIST.iterdir()} == {".gz", ".whl"}
    assert "99.0.0" in release.CHANGELOG.read_text()
