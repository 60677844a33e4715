"""A server's certificate: what is refused, and what is renewed."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from pisync.config.certificate import BadCertificate, ServerCertificate, is_readable_by_others
from pisync.config.settings import InvalidSettings, Settings
from tests.support.certificates import Files, make_certificate, shared_certificate


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A certificate and a key of the test's own."""
    return Files(*(Path(shutil.copy(path, tmp_path)) for path in shared_certificate()))


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_certificate(tmp_path_factory.mktemp("other"), "other")


def mistakes(**variables: str) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_env(variables, to_serve=True)
    return list(caught.value.mistakes)


class TestSettings:
    def test_are_both_or_neither(self, files: Files) -> None:
        settings = Settings.from_env(files.variables, to_serve=True)
        assert (settings.tls_cert, settings.tls_key) == tuple(map(str, files))
        for name, missing in (
            ("PISYNC_TLS_CERT", "PISYNC_TLS_KEY"),
            ("PISYNC_TLS_KEY", "PISYNC_TLS_CERT"),
        ):
            (mistake,) = mistakes(**{name: files.variables[name]})
            assert mistake.startswith(f"{missing}: must be set, too")

    def test_are_looked_at_by_a_server_alone(self, files: Files) -> None:
        files.key.unlink()
        assert Settings.from_env(files.variables).tls_key == str(files.key)
        assert mistakes(**files.variables) == [
            "PISYNC_TLS_KEY: can't read the file: No such file or directory"
        ]

    def test_are_reported_with_all_other_mistakes(self, files: Files) -> None:
        files.certificate.write_text("none")
        variables = files.variables | {"PISYNC_PORT": "x"}
        assert [line.partition(":")[0] for line in mistakes(**variables)] == [
            "PISYNC_PORT",
            "PISYNC_TLS_CERT",
        ]


class TestRefused:
    def refusal(self, files: Files) -> tuple[str, str]:
        with pytest.raises(BadCertificate) as caught:
            ServerCertificate(*map(str, files))
        return caught.value.field, str(caught.value)

    def test_files_that_are_missing_or_no_files(self, files: Files, tmp_path: Path) -> None:
        assert self.refusal(files._replace(certificate=tmp_path)) == (
            "tls_cert",
            "can't read the file: Is a directory",
        )
        assert self.refusal(files._replace(key=tmp_path / "no")) == (
            "tls_key",
            "can't read the file: No such file or directory",
        )

    def test_files_that_hold_something_else(self, files: Files) -> None:
        swapped = Files(files.key, files.certificate)
        assert self.refusal(swapped) == ("tls_cert", "the file has no certificate in PEM form")
        files.key.write_bytes(b"\0\xff")
        assert self.refusal(files) == ("tls_key", "the file has no private key in PEM form")

    def test_a_broken_certificate(self, files: Files) -> None:
        files.certificate.write_text(files.certificate.read_text().replace("M", "!", 1))
        field, text = self.refusal(files)
        assert field == "tls_cert"
        assert text.startswith("can't be used with its key: ")

    def test_a_key_of_another_certificate(self, files: Files, others: Files) -> None:
        assert self.refusal(files._replace(key=others.key)) == (
            "tls_key",
            "does not fit the certificate",
        )

    def test_a_key_with_a_passphrase(self, files: Files) -> None:
        encrypted = files.key.with_name("encrypted.pem")
        arguments = f"openssl pkcs8 -topk8 -passout pass:secret -in {files.key} -out {encrypted}"
        subprocess.run(arguments.split(), check=True)
        assert self.refusal(files._replace(key=encrypted)) == (
            "tls_key",
            "is encrypted: give one without a passphrase",
        )


def test_a_key_may_be_one_that_others_can_read(files: Files) -> None:
    assert not is_readable_by_others(str(files.key))
    files.key.chmod(0o644)
    assert is_readable_by_others(str(files.key))


class TestRenewal:
    def test_happens_once_both_files_have_come_to_rest(self, files: Files, others: Files) -> None:
        certificate = ServerCertificate(*map(str, files))
        assert not certificate.renew()
        shutil.copy(others.certificate, files.certificate)
        assert not certificate.renew(), "the key may be about to follow"
        shutil.copy(others.key, files.key)
        assert not certificate.renew()
        assert certificate.renew()
        assert not certificate.renew()

    def test_of_a_link_that_leads_elsewhere_now(self, files: Files, others: Files) -> None:
        links = Files(files.certificate.with_name("c"), files.certificate.with_name("k"))
        for link, target in zip(links, files, strict=True):
            link.symlink_to(target)
        certificate = ServerCertificate(*map(str, links))
        for link, target in zip(links, others, strict=True):
            link.unlink()
            link.symlink_to(target)
        assert [certificate.renew() for _ in range(3)] == [False, True, False]

    def test_of_broken_files_is_refused_once_and_what_was_is_kept(
        self, files: Files, others: Files
    ) -> None:
        certificate = ServerCertificate(*map(str, files))
        shutil.copy(others.certificate, files.certificate)
        assert not certificate.renew()
        with pytest.raises(BadCertificate, match="does not fit"):
            certificate.renew()
        assert not certificate.renew()
        begun = certificate.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
        with pytest.raises(ssl.SSLWantReadError):
            begun.do_handshake()

    def test_waits_for_files_that_are_missing(self, files: Files) -> None:
        certificate = ServerCertificate(*map(str, files))
        content = files.key.read_bytes()
        files.key.unlink()
        assert [certificate.renew() for _ in range(3)] == [False, False, False]
        files.key.write_bytes(content)
        assert [certificate.renew() for _ in range(3)] == [False, True, False]
