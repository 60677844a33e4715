"""The certificate that a server shows, and its renewal while the server runs."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, Self


class BadCertificate(Exception):
    """A certificate or its key can't be used; the text says why.

    Attributes:
        field: The setting that is at fault: `tls_cert` or `tls_key`.
    """

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class ServerCertificate(ssl.SSLContext):
    """A context for servers whose new connections get what the files had when last looked at.

    Connections that are open keep the certificate that they began with.
    """

    def __new__(cls, *_: object) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, certificate: str, key: str) -> None:
        """Load a certificate, with those that lead to its authority, and its key: PEM files.

        Raises:
            BadCertificate: They can't be used.
        """
        self._paths = Path(certificate), Path(key)
        self._loaded = self._seen = self._stamps()
        self._context = _load(*self._paths)

    def renew(self) -> bool:
        """Load the files again if they were replaced since; return whether they were.

        Files that have just changed may be about to change again: they are loaded when they have
        stayed the same between two calls.

        Raises:
            BadCertificate: They can't be used; the old ones are, until the files change again.
        """
        before, self._seen = self._seen, self._stamps()
        if self._seen in (self._loaded, ()) or self._seen != before:
            return False
        self._loaded = self._seen
        self._context = _load(*self._paths)
        return True

    def _stamps(self) -> Sequence[tuple[int, int, int]]:
        """Return what changes when a file is written or replaced; nothing while one is missing."""
        try:
            stats = [path.stat() for path in self._paths]
        except OSError:
            return ()
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)

    # What event loops call for a new connection.
    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """Begin a connection with the newest certificate."""
        return self._context.wrap_bio(*args, **kwargs)


def is_readable_by_others(key: str) -> bool:
    """Return whether others than its owner and group may read a key."""
    return bool(Path(key).stat().st_mode & 0o004)


def _load(certificate: Path, key: Path) -> ssl.SSLContext:
    _check_pem("tls_cert", certificate, b"CERTIFICATE-----", "certificate")
    _check_pem("tls_key", key, b"PRIVATE KEY-----", "private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise BadCertificate("tls_key", "does not fit the certificate") from None
        raise BadCertificate("tls_cert", f"can't be used with its key: {_reason(exc)}") from None
    return context


def _check_pem(field: str, path: Path, end_of_label: bytes, content: str) -> None:
    try:
        text = path.read_bytes()
    except OSError as exc:
        raise BadCertificate(field, f"can't read the file: {exc.strerror}") from None
    if end_of_label not in text:
        raise BadCertificate(field, f"the file has no {content} in PEM form")


def _refuse_password() -> NoReturn:
    raise BadCertificate("tls_key", "is encrypted: give one without a passphrase")


def _reason(exc: ssl.SSLError) -> str:
    return (exc.reason or str(exc)).replace("_", " ").lower()
