"""The secret that a database keeps."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pisync.config.jwt_secret import NoSecret, kept_secret
from pisync.config.settings import Settings

SECRET = "x" * 40


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that others can look into: pytest's own lie in one that they can't."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def settings(folder: Path) -> Settings:
    return Settings(store=f"sqlite:///{folder}/pisync.db")


@pytest.fixture
def file(folder: Path) -> Path:
    """Where the secret is kept."""
    return folder / "pisync.db.secret"


def put(file: Path, mode: int) -> None:
    file.write_text(SECRET)
    file.chmod(mode)


def assert_drawn(secret: str | None, settings: Settings, file: Path) -> None:
    assert secret is not None
    assert len(secret) >= 32
    assert kept_secret(settings) == secret == file.read_text().strip()
    assert file.stat().st_mode & 0o777 == 0o600
    assert [*file.parent.glob("*.secret*")] == [file]


def test_is_drawn_once_for_its_owner_alone(settings: Settings, file: Path) -> None:
    assert_drawn(kept_secret(settings), settings, file)


def test_one_who_was_killed_while_drawing_it_keeps_nobody_from_starting(
    settings: Settings, file: Path
) -> None:
    # In a container, whoever starts next has the same number.
    killed = file.with_name(f"{file.name}.{os.getpid()}")
    killed.touch()
    secret = kept_secret(settings)
    killed.unlink()
    assert_drawn(secret, settings, file)


def test_an_empty_file_is_refused(settings: Settings, file: Path) -> None:
    file.touch(mode=0o600)
    with pytest.raises(NoSecret, match="must hold 32 bytes"):
        kept_secret(settings)


def test_all_who_start_at_once_draw_the_same(settings: Settings, file: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        secrets = {*pool.map(kept_secret, [settings] * 64)}
    assert len(secrets) == 1
    assert_drawn(secrets.pop(), settings, file)


def test_needs_no_hard_links(
    settings: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object, **__: object) -> None:
        raise OSError("exFAT has none")

    monkeypatch.setattr(os, "link", link)
    with ThreadPoolExecutor(16) as pool:
        secrets = {*pool.map(kept_secret, [settings] * 64)}
    assert len(secrets) == 1
    assert_drawn(secrets.pop(), settings, file)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o640, 0o620, 0o644, 0o666])
def test_is_refused_where_others_may_read_or_write_it(
    settings: Settings, file: Path, mode: int
) -> None:
    put(file, mode)
    with pytest.raises(NoSecret, match=r"others may read or write it.* chmod 600"):
        kept_secret(settings)
    assert file.read_text() == SECRET
    assert [*file.parent.iterdir()] == [file]


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_is_taken_where_its_owner_alone_may_read_it(
    settings: Settings, file: Path, mode: int
) -> None:
    put(file, mode)
    assert kept_secret(settings) == SECRET


def test_a_group_that_may_write_to_the_folder_may_read_it(settings: Settings, file: Path) -> None:
    # So a volume of Kubernetes is that has a group (fsGroup).
    file.parent.chmod(0o2770)
    put(file, 0o660)
    assert kept_secret(settings) == SECRET


AS_SOMEBODY_ELSE = """
import os, sys
from pisync.config.jwt_secret import NoSecret, kept_secret
from pisync.config.settings import Settings
os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
try:
    print(kept_secret(Settings(store=sys.argv[2])))
except NoSecret as exc:
    print(exc)
"""


def printed_by(uid: int, settings: Settings) -> str:
    if os.geteuid():
        pytest.skip("needs root, to be somebody else")
    command = [sys.executable, "-c", AS_SOMEBODY_ELSE, str(uid), settings.store]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_is_refused_where_somebody_else_planted_it(settings: Settings, file: Path) -> None:
    file.parent.chmod(0o777)
    put(file, 0o644)
    said = printed_by(4711, settings)
    assert "belongs to uid 0, who knows the secret; this process is uid 4711" in said
    assert SECRET not in said


def test_where_it_can_t_be_read_the_message_says_whose_it_is(
    settings: Settings, file: Path
) -> None:
    put(file, 0o600)
    said = printed_by(4711, settings)
    assert (
        f"{file}: Permission denied. {file} belongs to uid 0, and this process is uid 4711" in said
    )


def test_where_none_can_be_made_the_message_says_whose_the_folder_is(
    settings: Settings, file: Path
) -> None:
    said = printed_by(4711, settings)
    assert (
        f"Permission denied. {file.parent} belongs to uid 0, and this process is uid 4711" in said
    )


def test_where_the_folder_can_t_even_be_searched_the_message_says_whose_it_is(
    settings: Settings, file: Path
) -> None:
    file.parent.chmod(0o700)
    said = printed_by(4711, settings)
    assert f"{file.parent} belongs to uid 0, and this process is uid 4711" in said
    assert f"chown -R 4711 {file.parent}" in said
