"""Every example in README.md and docs/*.md is run, so that the text stays true.

An example is a fenced block at the start of a line:

- `sh`: all those of a page are run in order, by one bash, against a live server. The page writes
  its address as `http://127.0.0.1:8080`; `pisync` is in PATH and knows the server's secret.
- `python`: a test module, run by pytest with PiSync's plugin. PISYNC and TOKEN (both scopes) are
  in its environment, for a live server.
- `json` or `text`, with nothing but blank lines between it and an `sh` block: what that prints.
  White space does not count, and `…` stands for anything.

Every curl has to be answered with a success, except where what the block prints is shown. A comment
`<!-- not run: reason -->` right before a block leaves it out. Fences say their language, one of
these if it is an example.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pisync.in_process import (
    SETTINGS,
    RunningServer,
    running_server,
)
from tests.support.paths import ROOT

PAGES = sorted([*ROOT.glob("README.md"), *ROOT.glob("docs/*.md")])

ADDRESS = "http://127.0.0.1:8080"
SECRET = "a secret that only the examples know"
# Another name for `sh` or `python` would slip past.
UNRUN_TWINS = {"", "bash", "shell", "console", "zsh", "shell-session", "py", "pycon", "python3"}

_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>.+) -->\n\n?)?```(?P<language>.*)\n(?P<text>(?:.*\n)*?)```$",
    re.MULTILINE,
)
_OUTPUT = re.compile(r"\s*```(?:json|text)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A block that is run, the line that it starts on, and what it prints if the page says so."""

    language: str
    line: int
    text: str
    prints: str | None


def examples(page: str) -> list[Example]:
    """The blocks of a page that are run, in order."""
    found = list(_BLOCK.finditer(page))
    fences = len(re.findall(r"^ *```", page, re.MULTILINE))
    assert fences == 2 * len(found), "a fence is indented, or not closed"
    for block in found:
        assert block["language"] not in UNRUN_TWINS, f"write sh or python: {block[0]}"
    return [
        Example(
            block["language"],
            page.count("\n", 0, block.start("text")),
            block["text"],
            (shown := _OUTPUT.match(page, block.end())) and shown["text"],
        )
        for block in found
        if block["language"] in {"sh", "python"} and not block["why"]
    ]


def matches(shown: str, printed: str) -> bool:
    """Whether an output is what the page shows."""
    parts = "".join(shown.split()).split("…")
    return bool(re.fullmatch(".*".join(map(re.escape, parts)), "".join(printed.split())))


def script_of(chosen: Sequence[Example]) -> str:
    """One script of all blocks, which prints NUL after each."""
    lines = ["set -o pipefail"]
    for example in chosen:
        # Where the page shows the output, an error may be the point of it.
        lines += ["set -e" if example.prints is None else "set +e", example.text, r"printf '\0'"]
    return "\n".join(lines)


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with running_server(replace(SETTINGS, jwt_secret=SECRET)) as running:
        yield running


@pytest.fixture
def environ(server: RunningServer, tmp_path: Path) -> dict[str, str]:
    # Answered with an error, or not at all: curl fails.
    (tmp_path / ".curlrc").write_text("fail-with-body\nshow-error\nsilent\nmax-time = 20\n")
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("PISYNC")}
    return inherited | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CURL_HOME": str(tmp_path),
        "PISYNC_JWT_SECRET": SECRET,
    }


def run_shell(page: str, url: str, environ: dict[str, str]) -> None:
    """Run a page's `sh` blocks; assert that they succeed and print what the page shows."""
    if shutil.which("curl") is None:
        why = "needs curl, which the examples call: install it"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    chosen = [each for each in examples(page) if each.language == "sh"]
    done = subprocess.run(
        ["bash", "-c", script_of(chosen).replace(ADDRESS, url)],
        env=environ,
        cwd=environ["CURL_HOME"],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    *printed, rest = done.stdout.replace(url, ADDRESS).split("\0")
    for example, output in zip(chosen, printed, strict=False):
        if example.prints is not None:
            assert matches(example.prints, output), f"line {example.line} printed\n{output}"
    assert len(printed) == len(chosen), (
        f"line {chosen[len(printed)].line} failed\n{rest}\n{done.stderr}"
    )


def run_python(page: str, server: RunningServer, environ: dict[str, str], folder: Path) -> None:
    """Run a page's `python` blocks; assert that each has tests, and that they pass."""
    for example in examples(page):
        if example.language == "python":
            assert "def test_" in example.text, f"line {example.line} has no test"
            (folder / f"test_line_{example.line}.py").write_text(example.text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pisync", "-W", "error", "--strict-markers"],
        env={
            **environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PISYNC": server.url,
            "TOKEN": server.token("devices", "admin"),
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def pages(language: str) -> pytest.MarkDecorator:
    having = [
        page
        for page in PAGES
        if any(each.language == language for each in examples(page.read_text()))
    ]
    assert having
    return pytest.mark.parametrize("page", having, ids=lambda page: page.name)


@pages("sh")
def test_shell_examples_do_and_print_what_the_page_says(
    page: Path, server: RunningServer, environ: dict[str, str]
) -> None:
    run_shell(page.read_text(), server.url, environ)


@pages("python")
def test_python_examples_pass(
    page: Path, server: RunningServer, environ: dict[str, str], tmp_path: Path
) -> None:
    run_python(page.read_text(), server, environ, tmp_path)


def test_the_guide_has_its_recipes_in_both_languages() -> None:
    guide = (ROOT / "docs/simulator.md").read_text()
    recipes = re.split(r"^### ", guide, flags=re.MULTILINE)[1:]
    assert [recipe.partition("\n")[0] for recipe in recipes] == [
        "Fail the first two syncs, then succeed",
        "An outage of a minute",
        "Hold a sync until my assertion is done",
        "Pending in three reads, then over",
        "The same failures in CI as yesterday",
        "Ten suites on one instance",
        "A fleet for each CI job",
        "A job that dies leaves nothing behind",
        "A day in a second",
        "A suite that polls, and takes no time",
        "Synced two hours ago, in every test run",
    ]
    for recipe in recipes:
        assert {each.language for each in examples(recipe)} == {"sh", "python"}


OPEN = f"curl {ADDRESS}/livez"


@pytest.mark.parametrize(
    "page",
    [
        f'```sh\n{OPEN}\n```\n\n```json\n{{"status": "ok"}}\n```\n',
        f"```sh\n{OPEN}\n{OPEN}\n```\n```text\n…ok…\n```\n",
        f"```sh\nTOKEN=$(pisync token --name me)\n```\nthen\n```sh\ncurl {ADDRESS}/devices"
        ' -H "Authorization: Bearer $TOKEN"\n```\n',
        f'```sh\ncurl {ADDRESS}/devices\n```\n```json\n{{"message": …}}\n```\n',
        f"```sh\necho {ADDRESS}\n```\n```text\n{ADDRESS}\n```\n",
        "<!-- not run: it fails -->\n```sh\nfalse\n```\n```text\nnothing\n```\n",
        f"```sh\n{OPEN}\n```\nIt could have said:\n```json\n{{}}\n```\n",
    ],
)
def test_a_page_that_tells_the_truth_passes(
    page: str, server: RunningServer, environ: dict[str, str]
) -> None:
    run_shell(page, server.url, environ)


@pytest.mark.parametrize(
    "page",
    [
        f'```sh\n{OPEN}\n```\n\n```json\n{{"status": "ready"}}\n```\n',
        f"```sh\n{OPEN}\n```\n```text\nok…\n```\n",
        f"```sh\ncurl {ADDRESS}/devices\n```\n",
        f"```sh\nx=$(curl -s {ADDRESS}/nowhere | cat)\necho $x\n```\n",
        f"```sh\nfalse\n```\n```sh\n{OPEN}\n```\n",
        "```bash\ntrue\n```\n",
        "- as follows\n\n  ```sh\n  true\n  ```\n",
    ],
)
def test_a_page_that_does_not_fails(
    page: str, server: RunningServer, environ: dict[str, str]
) -> None:
    with pytest.raises(AssertionError):
        run_shell(page, server.url, environ)


@pytest.mark.parametrize(
    "text", ["def test_it(pisync): assert pisync.stats().attempts", "assert True"]
)
def test_a_python_example_that_fails_or_tests_nothing_fails(
    text: str, server: RunningServer, environ: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(AssertionError):
        run_python(f"```python\n{text}\n```\n", server, environ, tmp_path)
