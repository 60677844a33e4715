"""Certificates that tests make for themselves, by OpenSSL's command."""

import base64
import hashlib
import ssl
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from pisync.config.certificate import ServerCertificate


class Files(NamedTuple):
    """A certificate of this machine, which is its own authority, and its key."""

    certificate: Path
    key: Path

    @property
    def client_context(self) -> ssl.SSLContext:
        """What a client needs to believe it."""
        return ssl.create_default_context(cafile=self.certificate)

    @property
    def variables(self) -> dict[str, str]:
        """The settings that have a server show it."""
        return {"PISYNC_TLS_CERT": str(self.certificate), "PISYNC_TLS_KEY": str(self.key)}

    @property
    def public_key_hash(self) -> str:
        """By which Chromium can be told to believe it (`--ignore-certificate-errors-spki-list`)."""
        shown = subprocess.run(
            ["openssl", "x509", "-pubkey", "-noout", "-in", self.certificate],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        key = base64.b64decode("".join(shown.splitlines()[1:-1]))
        return base64.b64encode(hashlib.sha256(key).digest()).decode()


def make_certificate(folder: Path, name: str = "server") -> Files:
    """Make a certificate for `localhost` and 127.0.0.1."""
    files = Files(folder / f"{name}.pem", folder / f"{name}-key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-out", files.certificate, "-keyout", files.key),
        ],
        check=True,
        capture_output=True,
    )
    return files


@cache
def shared_certificate() -> Files:
    """Return the one that all tests of this process share."""
    return make_certificate(Path(mkdtemp(prefix="pisync-tls-")))


def server_certificate() -> ServerCertificate:
    """Return it for a server to show."""
    return ServerCertificate(*map(str, shared_certificate()))
