"""The secret that signs tokens, where the settings leave it to the store."""

import os
import secrets
from pathlib import Path

from pisync.config.settings import Settings

_SQLITE = "sqlite:///"
_SHORTEST = 32
"""In bytes: what a secret that is set must have, too."""


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

    A database that has none gets one, which only its owner can read. Raises NoSecret.
    """
    if settings.jwt_secret is not None:
        return settings.jwt_secret
    database = sqlite_path(settings.store)
    return None if database is None else _beside(database)


def _beside(database: Path) -> str:
    path = database.with_name(f"{database.name}.secret")
    try:
        return _make(path) if not path.exists() else _read(path)
    except FileNotFoundError as exc:
        raise NoSecret(f"{database}: there is no directory {database.parent}") from exc
    except OSError as exc:
        raise NoSecret(f"{path}: {exc.strerror}") from exc


def _read(path: Path) -> str:
    secret = path.read_bytes().strip()
    if len(secret) < _SHORTEST or not secret.isascii():
        raise NoSecret(
            f"{path}: must hold {_SHORTEST} bytes of ASCII or more. Without this file, a new secret"
            " is drawn, and all tokens end."
        )
    return secret.decode()


def _make(path: Path) -> str:
    secret = secrets.token_hex(32)
    # Complete before it has its name: a second process that starts now reads all of it, or none.
    # Not named after the process: in a container, one that was killed may have had its number.
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return _read(path)
    finally:
        draft.unlink()
    return secret
