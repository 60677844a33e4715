"""Release a version: `make release VERSION=0.2.0`, as CONTRIBUTING.md describes.

The version and the changelog are committed; sdist, wheel and image are built from that commit, and
each is tried in an environment that has nothing else. The tag comes last. If anything fails, the
repository is left as it was.
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.version import InvalidVersion, Version

VERSION_FILE = Path("pisync/__init__.py")
# The npm package's, and how often each has its version; what follows are other packages'.
NPM_FILES = {
    Path("clients/typescript/package.json"): 1,
    Path("clients/typescript/package-lock.json"): 2,
}
CHANGELOG = Path("CHANGELOG.md")
DIST = Path("dist")

_VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)
_NPM_VERSION = re.compile(r'"version": ".+?"')
_UNRELEASED = re.compile(
    r"^## \[Unreleased\]\n(?:\nThe next release is [^\n]+\n)?(?P<changes>.*?)(?=^## \[|\Z)",
    re.MULTILINE | re.DOTALL,
)


class ReleaseError(Exception):
    """The release can't be made; the message says why."""


def main() -> None:
    """Release the version that the command line names."""
    parser = argparse.ArgumentParser(description="Release a version of PiSync.")
    parser.add_argument("version", help="the new version, such as 0.2.0")
    parser.add_argument("--without-image", action="store_true", help="build no container image")
    arguments = parser.parse_args()
    try:
        release(arguments.version, with_image=not arguments.without_image)
    except ReleaseError as error:
        sys.exit(f"NOT RELEASED: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"NOT RELEASED: this failed: {' '.join(map(str, error.cmd))}")


def release(version: str, *, with_image: bool) -> None:
    """Release a version of the repository in the working directory.

    Raises:
        ReleaseError: The version, the changelog or the repository is not fit for it.
        subprocess.CalledProcessError: A command failed.
    """
    check(version)
    with undone_on_failure():
        write_version(version)
        write_changelog(version, datetime.datetime.now(datetime.UTC).date())
        run("git", "commit", "--quiet", "--all", "--message", f"Release {version}")
        artifacts = build(version)
        try_out(artifacts, version)
        if with_image:
            run("make", "image", f"IMAGE=pisync:{version}")
            printed = output("docker", "run", "--rm", f"pisync:{version}", "--version")
            expect_version(printed, version, f"the image pisync:{version}")
        run("git", "tag", "--annotate", f"v{version}", "--message", f"PiSync {version}")
    say(f"Released {version}: tag v{version}, {', '.join(map(str, artifacts))}")
    say(f"Publish it: git push origin HEAD v{version}; then upload dist/ and the image.")


def check(version: str) -> None:
    """Check that a version can be released here.

    Raises:
        ReleaseError: It can't.
    """
    current = current_version()
    try:
        newer = Version(version) > Version(current)
    except InvalidVersion:
        newer = False
    if not newer or not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise ReleaseError(f"VERSION must be newer than {current}, such as 0.2.0; got {version!r}")
    if output("git", "status", "--porcelain"):
        raise ReleaseError("there are changes that are not committed")
    if output("git", "tag", "--list", f"v{version}"):
        raise ReleaseError(f"the tag v{version} exists")
    if not changes_of(CHANGELOG.read_text()):
        raise ReleaseError(f"{CHANGELOG} has nothing under [Unreleased]")


def current_version() -> str:
    """Return the version that the code has now."""
    match = _VERSION.search(VERSION_FILE.read_text())
    assert match, f"{VERSION_FILE} has no __version__"
    return match[1]


def changes_of(changelog: str) -> str:
    """Return what a changelog has under [Unreleased]."""
    match = _UNRELEASED.search(changelog)
    return match["changes"].strip() if match else ""


@contextmanager
def undone_on_failure() -> Iterator[None]:
    """Take the branch and its files back to where they were if the block fails."""
    start = output("git", "rev-parse", "HEAD")
    try:
        yield
    except BaseException:
        run("git", "reset", "--quiet", "--hard", start)
        raise


def write_version(version: str) -> None:
    """Write the version to the one place that has it, and to what npm reads."""
    text = VERSION_FILE.read_text()
    VERSION_FILE.write_text(_VERSION.sub(f'__version__ = "{version}"', text))
    npm_version = re.sub(r"(a|b|rc)(\d+)$", r"-\1.\2", version)
    for path, count in NPM_FILES.items():
        text = path.read_text()
        path.write_text(_NPM_VERSION.sub(f'"version": "{npm_version}"', text, count=count))


def write_changelog(version: str, date: datetime.date) -> None:
    """Move what is unreleased below a heading of this version."""
    text = CHANGELOG.read_text()
    released = f"## [Unreleased]\n\n## [{version}] - {date}\n\n{changes_of(text)}\n\n"
    CHANGELOG.write_text(_UNRELEASED.sub(lambda _: released, text, count=1).rstrip() + "\n")


def build(version: str) -> list[Path]:
    """Build the sdist, and the wheel from the sdist; return both."""
    committed_at = output("git", "log", "-1", "--format=%ct")
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--outdir", DIST),
        environment={"SOURCE_DATE_EPOCH": committed_at},
    )
    return [*DIST.glob(f"*-{version}.tar.gz"), *DIST.glob(f"*-{version}-*.whl")]


def try_out(artifacts: list[Path], version: str) -> None:
    """Install each artifact in a fresh environment, with what is locked, and start it.

    Raises:
        ReleaseError: One is of another version.
        subprocess.CalledProcessError: One can't be installed, or does not start.
    """
    with TemporaryDirectory() as directory:
        environment = Path(directory)
        python, pisync = environment / "bin/python", environment / "bin/pisync"
        run(sys.executable, "-m", "venv", "--without-pip", environment)
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
        locks = ("-r", "requirements.txt", "-r", "requirements-build.txt")
        run(*pip, "install", "--quiet", "--require-hashes", *locks)
        for artifact in artifacts:
            options = ("--quiet", "--no-deps", "--no-build-isolation", "--force-reinstall")
            run(*pip, "install", *options, artifact)
            # Not here, where `pisync/` would be found first.
            expect_version(output(pisync, "--version", cwd=environment), version, str(artifact))
            output(pisync, "openapi", cwd=environment)
            say(f"{artifact} installs and starts in a fresh environment")


def expect_version(printed: str, version: str, artifact: str) -> None:
    """Compare what `pisync --version` printed.

    Raises:
        ReleaseError: It is of another version.
    """
    if printed != f"pisync, version {version}":
        raise ReleaseError(f"{artifact} says {printed!r}")


def run(*command: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run a command that has to succeed; its output is shown."""
    subprocess.run(command, check=True, env={**os.environ, **(environment or {})})


def output(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command that has to succeed, and return what it prints."""
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=cwd)
    return done.stdout.strip()


def say(text: str) -> None:
    """Print a line at once, in its place among what commands print."""
    print(text, flush=True)


if __name__ == "__main__":
    main()
