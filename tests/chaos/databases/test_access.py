"""Whom the database lets in: by TLS, by a password, and to one schema only."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from pisync.stores.postgres.connection.address import Address
from pisync.stores.postgres.connection.connect import CannotConnect, connect
from tests.chaos.databases.conftest import Serve
from tests.support.certificates import Files, make_certificate
from tools.postgres import Postgres

PASSWORD, QUOTED = "a@b:c/d%e", "a%40b%3Ac%2Fd%25e"
RULES = """
hostssl all postgres 127.0.0.1/32 trust
hostssl all pisync 127.0.0.1/32 scram-sha-256
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def secure(distribution: Path, folder: Path, certificate: Files) -> Iterator[Postgres]:
    """A server that takes nothing but TLS, and whose role `pisync` needs its password."""
    data = folder / "secure"
    data.mkdir()
    server = Postgres(data, distribution)
    for source, name in zip(certificate, ("server.crt", "server.key"), strict=True):
        shutil.copyfile(source, data / name)
        (data / name).chmod(0o600)
        if server.user is not None:
            shutil.chown(data / name, server.user)
    (data / "pg_hba.conf").write_text(RULES)
    server.start("ssl=on")
    yield server
    server.kill()


async def test_replicas_serve_by_tls_to_whatever_server(secure: Postgres, serve: Serve) -> None:
    await serve(f"{secure.url(await secure.make_database())}?sslmode=require")


async def test_replicas_serve_by_tls_to_the_server_that_is_meant(
    secure: Postgres, serve: Serve, certificate: Files
) -> None:
    url = secure.url(await secure.make_database())
    await serve(f"{url}?sslmode=verify-full&sslrootcert={certificate.certificate}")


async def test_a_server_that_another_authority_vouches_for_is_refused(
    secure: Postgres, tmp_path: Path
) -> None:
    other = make_certificate(tmp_path, "other").certificate
    url = f"{secure.url('postgres')}?sslmode=verify-full&sslrootcert={other}"
    with pytest.raises(CannotConnect, match="certificate verify failed"):
        await connect(Address.parse(url))


async def test_one_without_tls_is_refused_where_tls_is_required(postgres: Postgres) -> None:
    with pytest.raises(CannotConnect, match="rejected SSL upgrade"):
        await connect(Address.parse(f"{postgres.url('postgres')}?sslmode=require"))


async def test_a_role_needs_nothing_but_a_schema_of_its_own(secure: Postgres, serve: Serve) -> None:
    database = await secure.make_database()
    admin = await asyncpg.connect(secure.url(database))
    await admin.execute(
        f"""
        CREATE ROLE pisync LOGIN PASSWORD '{PASSWORD}';
        REVOKE ALL ON DATABASE {database} FROM PUBLIC;
        REVOKE ALL ON SCHEMA public FROM PUBLIC;
        GRANT CONNECT ON DATABASE {database} TO pisync;
        CREATE SCHEMA sync AUTHORIZATION pisync"""
    )
    url = secure.url(database).replace("postgres@", f"pisync:{QUOTED}@")
    await serve(f"{url}?sslmode=require&search_path=sync")
    owned = "SELECT DISTINCT schemaname FROM pg_tables WHERE tableowner = 'pisync'"
    assert [each["schemaname"] for each in await admin.fetch(owned)] == ["sync"]
    await admin.close()
