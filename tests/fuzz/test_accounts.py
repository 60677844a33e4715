"""Accounts over HTTP, whatever is done to them and in whatever order, beside a model of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pisync.in_process import RunningServer
from tests.fuzz.caller import LIMIT, Caller, drive, service

NAMES = st.sampled_from(("alice", "bob"))
PASSWORDS = st.sampled_from(("first password", "second password", "thïrd password"))
SCOPES = st.lists(st.sampled_from(("devices", "admin")), max_size=3)


@dataclass
class Account:
    """What an account should be."""

    name: str
    password: str
    scopes: list[str] = field(default_factory=lambda: ["devices"])
    disabled: bool = False


@dataclass
class Token:
    """A token, and what it should be good for; no scopes for one that has ended."""

    text: str
    scopes: list[str]
    ended: bool = False


class AccountsMachine(RuleBasedStateMachine):
    """Two names, and all that users and admins can do about them."""

    server: ClassVar[RunningServer]
    call: ClassVar[Caller]

    def __init__(self) -> None:
        super().__init__()
        self.admin = self.server.token("devices", "admin", name="a service")
        self.accounts: dict[str, Account] = {}
        self.tokens: dict[str, list[Token]] = {"alice": [], "bob": []}
        for name in self.tokens:
            self.call("DELETE", f"/admin/accounts/{name}", token=self.admin)

    def end_tokens(self, name: str) -> None:
        for token in self.tokens[name]:
            token.ended = True

    def keep(self, name: str, text: str) -> None:
        self.tokens[name].append(Token(text, self.accounts[name].scopes))

    @rule(name=NAMES, password=PASSWORDS, shout=st.booleans())
    def register(self, name: str, password: str, *, shout: bool) -> None:
        written = name.upper() if shout else name
        reply = self.call("POST", "/register", {"username": written, "password": password})
        if name in self.accounts:
            assert reply.status == 409
        else:
            assert reply.status == 201
            self.accounts[name] = Account(written, password)
            self.keep(name, reply.json["token"])

    @rule(name=NAMES, password=PASSWORDS)
    def log_in(self, name: str, password: str) -> None:
        reply = self.call("POST", "/login", {"username": name, "password": password})
        account = self.accounts.get(name)
        if account and account.password == password and not account.disabled:
            assert reply.status == 200
            self.keep(name, reply.json["token"])
        else:
            assert (reply.status, reply.json) == (401, {"message": "Invalid username or password."})

    @rule(name=NAMES, old=PASSWORDS, new=PASSWORDS, data=st.data())
    def change_password(self, name: str, old: str, new: str, data: st.DataObject) -> None:
        if not self.tokens[name]:
            return
        token = data.draw(st.sampled_from(self.tokens[name]))
        body = {"password": old, "new_password": new}
        reply = self.call("POST", "/password", body, token=token.text)
        if token.ended:
            assert reply.status == 401
        elif old != self.accounts[name].password:
            assert (reply.status, [*reply.json["errors"]]) == (422, ["password"])
        else:
            assert reply.status == 200
            self.end_tokens(name)
            self.accounts[name].password = new
            self.keep(name, reply.json["token"])

    @rule(
        name=NAMES,
        change=st.fixed_dictionaries({}, optional={"disabled": st.booleans(), "scopes": SCOPES}),
    )
    def change(self, name: str, change: dict[str, object]) -> None:
        reply = self.call("PATCH", f"/admin/accounts/{name}", change, token=self.admin)
        account = self.accounts.get(name)
        if not change:
            assert reply.status == 422
        elif account is None:
            assert reply.status == 404
        else:
            before = (account.disabled, account.scopes)
            if "disabled" in change:
                account.disabled = bool(change["disabled"])
            if isinstance(given := change.get("scopes"), list):
                account.scopes = [each for each in ("devices", "admin") if each in given]
            assert (reply.status, reply.json) == (200, shown(account))
            if before != (account.disabled, account.scopes):
                self.end_tokens(name)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        reply = self.call("DELETE", f"/admin/accounts/{name}", token=self.admin)
        assert reply.status == (204 if name in self.accounts else 404)
        self.accounts.pop(name, None)
        self.end_tokens(name)

    @rule(limit=st.integers(1, 3))
    def walk_through_pages(self, limit: int) -> None:
        found, target = [], f"/admin/accounts?limit={limit}"
        while target:
            reply = self.call("GET", target, token=self.admin)
            assert int(reply.headers["X-Total-Count"]) == len(self.accounts) + 1
            found += reply.json
            link = reply.headers.get("Link", "")
            target = link.partition("<")[2].partition(">")[0]
        assert [each for each in found if each["username"] != "admin"] == [
            shown(self.accounts[name]) for name in sorted(self.accounts)
        ]

    @invariant()
    def tokens_are_good_for_what_they_should(self) -> None:
        for token in (each for tokens in self.tokens.values() for each in tokens[-4:]):
            for scope, path in (("devices", "/stats"), ("admin", "/admin/fleets")):
                status = 401 if token.ended else 200 if scope in token.scopes else 403
                assert self.call("GET", path, token=token.text).status == status


def shown(account: Account) -> dict[str, object]:
    return {"username": account.name, "scopes": account.scopes, "disabled": account.disabled}


@pytest.fixture(scope="module")
def machine() -> Iterator[type[AccountsMachine]]:
    with service() as (server, caller):
        yield type("Machine", (AccountsMachine,), {"server": server, "call": caller})


@pytest.mark.timeout(LIMIT)
def test_accounts_are_what_their_model_is(machine: type[AccountsMachine]) -> None:
    drive(machine, 20)
