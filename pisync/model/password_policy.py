"""What a new password must be. It stands apart from bcrypt, which not everyone needs to import."""

import unicodedata
from enum import Enum

MIN_CHARACTERS = 8
MAX_BYTES = 72
"""The longest password that bcrypt takes, in bytes of UTF-8."""


_MAX_EXPANSION = 4
"""Characters that one of a normalized password may come from, at most."""


def normalized(password: str) -> str:
    """Return a password in Unicode's form NFC, so that it is the same from every keyboard.

    One that is too long in any form is returned as it is: to normalize it might take seconds.
    """
    if password.isascii() or len(password) > _MAX_EXPANSION * MAX_BYTES:
        return password
    return unicodedata.normalize("NFC", password)


class Flaw(Enum):
    """What is wrong with a password."""

    NOT_UTF8 = "not UTF-8"
    """It has a lone surrogate."""
    HAS_NUL = "has NUL"
    TOO_LONG = "too long"
    TOO_SHORT = "too short"


def flaw_of(password: str) -> Flaw | None:
    """Return the first thing wrong with a new password, if any."""
    password = normalized(password)
    try:
        length = len(password.encode())
    except UnicodeEncodeError:
        return Flaw.NOT_UTF8
    if "\0" in password:
        return Flaw.HAS_NUL
    if length > MAX_BYTES:
        return Flaw.TOO_LONG
    if len(password) < MIN_CHARACTERS:
        return Flaw.TOO_SHORT
    return None


def is_hashable(password: str) -> bool:
    """Say whether bcrypt can take a password: one that is merely too short, it can."""
    return flaw_of(password) in (None, Flaw.TOO_SHORT)
