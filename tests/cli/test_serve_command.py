"""A start that fails: on a database that goes away, or is another program's."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
from aiohttp import web

from pisync import keys
from pisync.app import CannotStart, create_app
from pisync.auth.accounts import Accounts
from pisync.cli.serve_command import _announce
from pisync.stores.errors import StoreUnavailable
from tests.conftest import SETTINGS
from tests.support.raw_connection import capture_logs


async def is_away(*_: object, **__: object) -> NoReturn:
    raise StoreUnavailable


async def test_before_it_listens_is_why_it_can_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accounts, "start", is_away)
    runner = web.AppRunner(create_app(SETTINGS))
    with pytest.raises(CannotStart, match="can't be reached"):
        await runner.setup()
    await runner.cleanup()


def test_nothing_is_left_beside_a_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE orders (x)")
    with pytest.raises(CannotStart, match="belongs to another program"):
        create_app(replace(SETTINGS, store=f"sqlite:///{path}", jwt_secret=None))
    assert [*tmp_path.iterdir()] == [path]


async def test_once_it_listens_does_not_end_it() -> None:
    app = create_app(SETTINGS)
    app[keys.STORE] = SimpleNamespace(queries=SimpleNamespace(fleet=is_away))
    with capture_logs() as logged:
        await _announce(app, [("127.0.0.1", 8080)])
    assert [(each["event"], each["urls"]) for each in logged] == [
        ("listening", ["http://127.0.0.1:8080"])
    ]
