"""The secret that signs tokens, where the settings leave it to the store."""

import os
import secrets
import stat
import sys
import time
from pathlib import Path

from pisync.config.settings import Settings

_SQLITE = "sqlite:///"
_MIN_BYTES = 32
"""What a secret that is set must have, too."""
_NAMING_SECONDS = 1.0
"""How long another process may take between claiming the secret's name and filling it."""


class NoSecret(Exception):
    """There is no secret to sign tokens with; the text says why."""


def sqlite_path(store: str) -> Path | None:
    """Return the file that `sqlite:///relative.db` or `sqlite:////absolute.db` names; else None.

    Links are followed: what lies beside a database must not depend on the name that leads to it.
    """
    if not store.startswith(_SQLITE):
        return None
    return Path(os.path.realpath(store.removeprefix(_SQLITE)))


def kept_secret(settings: Settings) -> str | None:
    """Return the secret that is set, or kept beside the database; None if neither is possible.

    A database that has none gets one, which only its owner can read.

    Raises:
        NoSecret: It can't be read or made, or others can read or write it.
    """
    if settings.jwt_secret is not None:
        return settings.jwt_secret
    database = sqlite_path(settings.store)
    return None if database is None else _beside(database)


def _beside(database: Path) -> str:
    path = database.with_name(f"{database.name}.secret")
    try:
        return _read(path) or _make(path)
    except FileNotFoundError as exc:
        raise NoSecret(f"{database}: there is no directory {database.parent}") from exc
    except PermissionError as exc:
        raise NoSecret(f"{path}: {exc.strerror}{_whose(path)}") from exc
    except OSError as exc:
        raise NoSecret(f"{path}: {exc.strerror}") from exc


def _read(path: Path) -> str | None:
    """Return the secret in a file; None if there is no file, or nothing in it.

    Raises:
        NoSecret: It is not one, or somebody else can read or write it.
        OSError: It can't be read.
    """
    try:
        # Not to wait for what a pipe has to say.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        content = file.read() if stat.S_ISREG(found.st_mode) else b"not a file"
    secret = content.strip()
    if not secret:
        return None
    if len(secret) < _MIN_BYTES or not secret.isascii():
        raise _not_a_secret(path)
    _check_private(path, found)
    return secret.decode()


def _not_a_secret(path: Path) -> NoSecret:
    return NoSecret(
        f"{path}: must hold {_MIN_BYTES} bytes of ASCII or more. Without this file, a new secret is"
        " drawn, and all tokens end."
    )


def _check_private(path: Path, found: os.stat_result) -> None:
    """Refuse a file that somebody else has made, or may read or write.

    Raises:
        NoSecret: It is such a file.
        OSError: No file can be made beside it, to compare.
    """
    if sys.platform == "win32" or (found.st_uid == os.geteuid() and not found.st_mode & 0o077):
        return
    # Some file systems have one owner and one mode for all files. And whoever may write to the
    # folder, as the group of a shared volume may, could replace the file anyway.
    own, folder = _stat_of_new_file(path), path.parent.stat()
    allowed = stat.S_IMODE(own.st_mode)
    if folder.st_mode & stat.S_IWGRP and folder.st_gid == found.st_gid:
        allowed |= stat.S_IRWXG
    remedy = "Remove it, and a new secret is drawn and all tokens end; or, if you trust it:"
    if found.st_uid != own.st_uid:
        raise NoSecret(
            f"{path}: belongs to uid {found.st_uid}, who knows the secret; this process is uid"
            f" {own.st_uid}. {remedy} chown {own.st_uid} {path}"
        )
    if stat.S_IMODE(found.st_mode) & ~allowed & 0o077:
        raise NoSecret(f"{path}: others may read or write it. {remedy} chmod 600 {path}")


def _stat_of_new_file(path: Path) -> os.stat_result:
    draft = _write_draft(path, "")
    try:
        return draft.stat()
    finally:
        draft.unlink()


def _whose(path: Path) -> str:
    """Say who owns what could not be read or made, where systems have users."""
    if sys.platform == "win32":
        return ""
    try:
        place, owner = path, path.stat().st_uid
    except OSError:  # it is not there, or its folder may not even be searched
        place, owner = path.parent, path.parent.stat().st_uid
    return (
        f". {place} belongs to uid {owner}, and this process is uid {os.geteuid()}: run it as that"
        f" user, or give the folder to this one: chown -R {os.geteuid()} {path.parent}"
    )


def _make(path: Path) -> str:
    """Draw a secret and keep it, unless another process has done so meanwhile: then return that.

    Raises:
        NoSecret: What another process has made is not good.
        OSError: It can't be written.
    """
    secret = secrets.token_hex(32)
    # Complete before it has its name: a second process that starts now reads all of it, or none.
    draft = _write_draft(path, f"{secret}\n")
    try:
        _rename_exclusively(draft, path)
    except FileExistsError:
        draft.unlink()
        deadline = time.monotonic() + _NAMING_SECONDS
        while (others := _read(path)) is None:
            if time.monotonic() > deadline:
                raise _not_a_secret(path) from None
            time.sleep(0.01)
        return others
    return secret


def _write_draft(path: Path, content: str) -> Path:
    # Not named after the process: in a container, one that was killed may have had its number.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _rename_exclusively(draft: Path, path: Path) -> None:
    """Give a file its name, unless there is one of that name.

    Raises:
        FileExistsError: There is one.
        OSError: It can't be done.
    """
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: two steps, in place of one
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        draft.replace(path)
    else:
        draft.unlink()
