import ipaddress
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from pisync.config.settings import (
    InvalidSettings,
    Settings,
    default_of,
    unknown_variables,
)
from pisync.config.settings_schema import (
    VARIABLES,
    Variable,
    option_of,
)
from pisync.config.texts import LoginFailures

SECRET = "an HS256 key of 32 bytes or more"
PASSWORD = "correct horse"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens here


def read(**texts: str) -> Settings:
    return Settings.from_env({f"PISYNC_{name.upper()}": text for name, text in texts.items()})


def mistakes(environ: Mapping[str, str], options: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        Settings.from_env(environ, options)
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    return list(caught.value.mistakes)


def mistake(**texts: str) -> str:
    """What is wrong with one setting, without its name."""
    (name,) = texts
    (line,) = mistakes({f"PISYNC_{name.upper()}": texts[name]})
    variable, _, problem = line.partition(": ")
    assert variable == f"PISYNC_{name.upper()}"
    return problem


class TestDefaults:
    def test_are_those_of_the_contract(self) -> None:
        assert Settings.from_env({}) == Settings(
            host="127.0.0.1",
            port=8080,
            store="memory",
            jwt_secret=None,
            token_ttl=3600,
            admin_password=None,
            bcrypt_cost=12,
            devices=None,
            profile={},
            error_logs=100_000,
            max_devices=10_000_000,
            max_streams=10_000,
            login_failures=LoginFailures(10, 60),
            trusted_proxies=(),
            cors_origins=(),
            otlp_endpoint=None,
            log_level="info",
            log_format="auto",
            access_log=False,
        )

    def test_of_every_setting_are_told_beside_its_meaning(self) -> None:
        assert [each.field for each in VARIABLES] == [each.name for each in fields(Settings)]
        told = {each.field: default_of(each) for each in VARIABLES}
        assert told["port"] == "8080"
        assert told["login_failures"] == "10/60"
        assert told["access_log"] == "off"
        assert told["profile"] == "{}"
        assert told["devices"] == "ten hard-coded ones"
        assert all(each.meaning and default_of(each) for each in VARIABLES)

    @pytest.mark.parametrize(
        "variable",
        [each for each in VARIABLES if each.unset is None],
        ids=lambda variable: variable.field,
    )
    def test_can_be_set_as_they_are_told(self, variable: Variable) -> None:
        assert read(**{variable.field: default_of(variable)}) == Settings()


class TestWhereTheyAreRead:
    def test_is_the_mapping_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PISYNC_PORT", "9")
        assert Settings.from_env({}).port == 8080
        assert read(port="10").port == 10

    def test_is_the_environment_if_no_other_mapping_is_given(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PISYNC_PORT", "9")
        monkeypatch.setenv("PISYNC_PROT", "9")
        assert Settings.from_env().port == 9
        assert "PISYNC_PROT" in unknown_variables()

    def test_options_win_over_variables(self) -> None:
        settings = Settings.from_env(
            {"PISYNC_PORT": "wrong", "PISYNC_HOST": "::1"}, {"PISYNC_PORT": "9"}
        )
        assert (settings.port, settings.host) == (9, "::1")

    def test_an_option_for_a_secret_wins_over_a_variable_for_its_file(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(SECRET)
        file, text = str(tmp_path / "secret"), SECRET.upper()
        name = "PISYNC_JWT_SECRET"
        by_option = Settings.from_env({f"{name}_FILE": file}, {name: text})
        by_file = Settings.from_env({name: text}, {f"{name}_FILE": file})
        assert (by_option.jwt_secret, by_file.jwt_secret) == (text, SECRET)

    def test_options_are_named_after_variables(self) -> None:
        assert option_of("PISYNC_BCRYPT_COST") == "--bcrypt-cost"
        assert option_of("PISYNC_JWT_SECRET_FILE") == "--jwt-secret-file"

    def test_unknown_variables_are_found_by_their_prefix(self) -> None:
        assert unknown_variables(
            {
                "PISYNC_TYPO": "",
                "PISYNC_PORT": "x",
                "PISYNC_PORT_FILE": "x",
                "PISYNC_STORE_FILE": "x",
                "PISYNC_JWT_SECRET_FILE": "x",
                "PISYNC_ADMIN_PASSWORD_FILE": "x",
                "PISYNCED": "x",
                "PATH": "x",
            }
        ) == ["PISYNC_PORT_FILE", "PISYNC_TYPO"]


class TestMistakes:
    def test_are_told_all_at_once_in_the_order_of_the_table(self) -> None:
        lines = mistakes({f"PISYNC_{each.name.upper()}": "" for each in fields(Settings)})
        assert lines == [f"{each.names[0]}: is set, but empty" for each in VARIABLES]

    def test_name_the_option_where_one_was_given(self) -> None:
        assert mistakes({"PISYNC_PORT": "9", "PISYNC_HOST": ""}, {"PISYNC_PORT": "x"}) == [
            "PISYNC_HOST: is set, but empty",
            "--port: must be a whole number from 0 to 65535, not 'x'",
        ]

    def test_within_the_profile_come_with_the_others(self) -> None:
        profile = '{"seed": -1, "delay": {"distribution": "constant"}}'
        with pytest.raises(InvalidSettings) as caught:
            Settings.from_env({"PISYNC_PROFILE": profile, "PISYNC_PORT": "x"})
        assert caught.value.mistakes[1:] == (
            "PISYNC_PROFILE: seed: Must be greater than or equal to 0 and less than or equal to"
            " 9007199254740991.",
            "PISYNC_PROFILE: delay.seconds: Missing data for required field.",
        )

    def test_no_more_devices_are_made_at_the_start_than_there_may_be(self) -> None:
        settings = {"PISYNC_MAX_DEVICES": "100", "PISYNC_DEVICES": "101"}
        assert mistakes(settings) == ["PISYNC_DEVICES: must not be above PISYNC_MAX_DEVICES"]
        assert Settings.from_env({**settings, "PISYNC_DEVICES": "100"}).devices == 100
        assert mistakes({**settings, "PISYNC_MAX_DEVICES": "x"})[-1].startswith(
            "PISYNC_MAX_DEVICES: must be"
        )

    def test_a_server_on_postgresql_needs_a_secret_and_nobody_else_does(self) -> None:
        given = {"PISYNC_STORE": "postgresql://me:geheim@host/db"}
        with pytest.raises(InvalidSettings, match=r"^PISYNC_JWT_SECRET: must be set"):
            Settings.from_env(given, to_serve=True)
        assert Settings.from_env(given).jwt_secret is None
        Settings.from_env({**given, "PISYNC_JWT_SECRET": "s" * 32}, to_serve=True)
        for store in ("memory", "sqlite:///a.db"):
            Settings.from_env({"PISYNC_STORE": store}, to_serve=True)

    def test_a_way_past_a_pooler_is_for_postgresql_alone(self) -> None:
        direct = {"PISYNC_STORE_DIRECT": "postgres://me:geheim@host/db"}
        pooler = {"PISYNC_STORE": "postgresql://me:geheim@pooler/db"}
        settings = Settings.from_env({**direct, **pooler})
        assert settings.store_direct == "postgresql://me:geheim@host/db"
        refusal = ["PISYNC_STORE_DIRECT: is for PostgreSQL: PISYNC_STORE is another store"]
        assert mistakes(direct) == refusal
        assert mistakes({**direct, "PISYNC_STORE": "sqlite:///a.db"}) == refusal
        (wrong,) = mistakes({**direct, "PISYNC_STORE": "mysql://me:geheim@pooler/db"})
        assert wrong.startswith("PISYNC_STORE: must be")
        assert mistakes({**pooler, "PISYNC_STORE_DIRECT": "memory"}) == [
            "PISYNC_STORE_DIRECT: must be none, or postgresql://USER:PASSWORD@HOST/DATABASE"
        ]

    def test_that_no_way_leads_past_a_pooler_is_said_in_its_place(self, tmp_path: Path) -> None:
        pooler = {"PISYNC_STORE": "postgresql://me:geheim@pooler/db"}
        assert Settings.from_env(pooler).store_direct is None
        none = {"PISYNC_STORE_DIRECT": "none"}
        assert Settings.from_env({**pooler, **none}).store_direct == "none"
        (tmp_path / "direct").write_text("none\n")
        in_file = {"PISYNC_STORE_DIRECT_FILE": str(tmp_path / "direct")}
        assert Settings.from_env({**pooler, **in_file}).store_direct == "none"
        assert mistakes(none) == [
            "PISYNC_STORE_DIRECT: is for PostgreSQL: PISYNC_STORE is another store"
        ]
        assert mistakes({**pooler, "PISYNC_STORE_DIRECT": "None"}) != []

    def test_a_secret_that_is_wrong_is_not_called_missing_too(self) -> None:
        given = {"PISYNC_STORE": "postgresql://me:geheim@host/db", "PISYNC_JWT_SECRET": "short"}
        with pytest.raises(InvalidSettings) as caught:
            Settings.from_env(given, to_serve=True)
        assert caught.value.mistakes == ("PISYNC_JWT_SECRET: must be 32 bytes or more, not 5",)

    @pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.field)
    @pytest.mark.parametrize("text", ["8\x1b[2J", "8\n8", "\x007", "x\x7f", "8\x85"], ids=ascii)
    def test_a_control_character_is_one(self, variable: Variable, text: str) -> None:
        wrong = mistake(**{variable.field: text})
        if not (variable.is_json and "\n" in text):
            assert wrong == "must not contain control characters"

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("admin_password", PASSWORD),
            ("host", "127.0.0.1"),
            ("jwt_secret", "x" * 40),
            ("jwt_secret_file", "/secret"),
        ],
    )
    def test_a_line_end_of_windows_is_one(self, name: str, text: str) -> None:
        wrong = mistake(**{name: f"{text}\r"})
        assert wrong == "ends in a carriage return: was it written on Windows?"

    def test_show_no_more_of_a_long_text_than_its_start(self) -> None:
        assert len(mistake(log_level="x" * 10_000)) < 200

    @pytest.mark.parametrize(
        "texts",
        [
            {"PISYNC_JWT_SECRET": "geheim"},
            {"PISYNC_JWT_SECRET_FILE": "geheim"},
            {"PISYNC_ADMIN_PASSWORD": "geheim"},
            {"PISYNC_ADMIN_PASSWORD": "geheim" * 13},
            {"PISYNC_ADMIN_PASSWORD": "geheim 123", "PISYNC_ADMIN_PASSWORD_FILE": "geheim"},
            {"PISYNC_STORE": "postgresql://me:geheim@host:none/db"},
            {"PISYNC_STORE": "mysql://me:geheim@host/db"},
            {"PISYNC_STORE_DIRECT": "mysql://me:geheim@host/db"},
        ],
    )
    def test_show_nothing_secret(self, texts: dict[str, str]) -> None:
        assert "geheim" not in "\n".join(mistakes(texts))


def test_they_are_read_without_what_only_a_server_needs() -> None:
    # A health check reads them every few seconds, in a process of its own.
    modules = "import sys, pisync.config.settings; print({'aiohttp', 'bcrypt'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", modules], check=True, capture_output=True)
    assert found.stdout.strip() == b"set()"


def test_repr_shows_nothing_secret() -> None:
    settings = read(
        jwt_secret="geheim" * 6,
        admin_password="geheim123",
        store="postgresql://me:geheim@host/db",
        store_direct="postgresql://me:geheim@host/db",
    )
    assert "geheim" not in repr(settings)
    assert "8080" in repr(settings)


RANGES = [
    ("port", 0, 65_535),
    ("token_ttl", 1, 2**31 - 1),
    ("bcrypt_cost", 4, 15),
    ("devices", 0, 5_000_000),
    ("error_logs", 0, 10**9),
    ("max_devices", 1, 10**9),
    ("max_streams", 0, 10**9),
]


@pytest.mark.parametrize(("name", "least", "most"), RANGES)
class TestNumber:
    def test_is_taken_within_its_range(self, name: str, least: int, most: int) -> None:
        for number in (least, most):
            assert getattr(read(**{name: str(number)}), name) == number

    def test_is_refused_beyond_its_range(self, name: str, least: int, most: int) -> None:
        problem = f"must be a whole number from {least} to {most}, not "
        for number in (least - 1, most + 1, 10**30, "9" * 5_000):
            assert mistake(**{name: str(number)}).startswith(problem)

    @pytest.mark.parametrize(
        "text",
        ["1_0", " 10", "10 ", "+10", "-10", "1e1", "10.0", "0x10", "\u0661\u0660", "ten"],
    )
    def test_is_ascii_digits_alone(self, name: str, least: int, most: int, text: str) -> None:
        assert "must be a whole number" in mistake(**{name: text})


class TestHost:
    @pytest.mark.parametrize(
        "text", [EVERYWHERE, "::", "::1", "fe80::1%eth0", "localhost", "a-b.example.org", "my_host"]
    )
    def test_is_an_address_or_a_name(self, text: str) -> None:
        assert read(host=text).host == text

    @pytest.mark.parametrize(
        "text",
        ["[::1]", "a b", "http://x", "x:80", "-x", "é.org", "::1%é", "x" * 64, "a." * 127 + "a"],
    )
    def test_is_nothing_else(self, text: str) -> None:
        assert mistake(host=text).startswith("must be an address (IPv6 without brackets) or")


class TestStore:
    @pytest.mark.parametrize(
        "text",
        [
            "memory",
            "sqlite:///relative.db",
            "sqlite:////absolute.db",
            "postgresql://user:password@host/database",
            "postgresql://user@host:5432/database",
            "postgresql://user:pass%40word@[::1]:5432/database?ssl=require",
            "postgresql://user:password@host1:5432,host2:5432/database",
            "postgresql://user:password@host1,[::1]:5433,[::2]/database",
            "postgresql://user:password@host1:5432,host2:5433,[::1]/database",
            "postgresql://user@%2Fvar%2Frun%2Fpostgresql/database",
            "postgresql:///database?host=/var/run/postgresql",
        ],
    )
    def test_is_one_of_three_kinds(self, text: str) -> None:
        assert read(store=text).store == text

    @pytest.mark.parametrize(
        ("text", "store"),
        [
            ("postgres://user:password@host/database", "postgresql://user:password@host/database"),
        ],
    )
    def test_may_call_postgresql_by_its_short_name(self, text: str, store: str) -> None:
        assert read(store=text).store == store
        assert read(store=text).store_is_shared

    def test_postgres_is_short_for_postgresql(self) -> None:
        settings = read(store="postgres://me:geheim@host/db")
        assert settings.store == "postgresql://me:geheim@host/db"
        assert settings.store_is_shared
        assert settings.shown_store == "postgresql://host/db"

    @pytest.mark.parametrize(
        "text",
        [
            "Memory",
            "sqlite://",
            "sqlite:///",
            "sqlite:///folder/",
            "sqlite://relative.db",
            "postgresql://user:password@host",
            "postgresql://user:password@host1:0,host2/database",
            "postgresql://user:password@::1/database",
            "postgresql://user:password@host/",
            "postgresql://user:password@host:0/database",
            "postgresql://user:password@host1,host2:0/database",
            "postgresql://user:password@host1,,host2/database",
            "postgresql://user:password@host1:5432,host2:none/database",
            "postgresql://user:password@host:99999/database",
            "postgresql://user:password@[host/database",
            "redis://host",
        ],
    )
    def test_is_nothing_else(self, text: str) -> None:
        assert mistake(store=text) == (
            "must be memory, sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE"
        )

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("memory", "memory"),
            ("sqlite:////home/me@work/a.db", "sqlite:////home/me@work/a.db"),
            ("postgresql://me:geheim@host:5432/db", "postgresql://host:5432/db"),
            ("postgresql://me:ge@heim@host/db?password=geheim", "postgresql://host/db"),
            ("postgresql://host/db", "postgresql://host/db"),
            ("postgresql://me:ge:he,im@a:1,b:2/db", "postgresql://a:1,b:2/db"),
            ("postgresql://me:ge[heim@a:1,b:2/d@b", "postgresql://a:1,b:2/d@b"),
        ],
    )
    def test_is_shown_without_whom_it_lets_in(self, text: str, shown: str) -> None:
        assert read(store=text).shown_store == shown


class TestSecret:
    def test_has_32_bytes_or_more(self) -> None:
        assert read(jwt_secret="x" * 32).jwt_secret == "x" * 32
        assert read(jwt_secret="é" * 16).jwt_secret == "é" * 16
        assert mistake(jwt_secret="x" * 31) == "must be 32 bytes or more, not 31"

    def test_is_utf8(self) -> None:
        assert mistake(jwt_secret="\udc80" * 32) == "must be UTF-8 text"


class TestAdminPassword:
    @pytest.mark.parametrize("text", [PASSWORD, "8 bytes!", "x" * 72, "🔑" * 18])
    def test_follows_the_rule_for_passwords(self, text: str) -> None:
        assert read(admin_password=text).admin_password == text

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("7 bytes", "must be 8 characters or more"),
            ("é" * 7, "must be 8 characters or more"),
            ("x" * 73, "must be 72 bytes of UTF-8 or fewer"),
            ("🔑" * 19, "must be 72 bytes of UTF-8 or fewer"),
            ("12345678\udc80", "must be UTF-8 text"),
        ],
    )
    def test_breaks_the_rule_for_passwords(self, text: str, problem: str) -> None:
        assert mistake(admin_password=text) == problem


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("store", "postgresql://user:password@host/database"),
        ("jwt_secret", f" {SECRET}"),
        ("admin_password", f" {PASSWORD}"),
    ],
    ids=["store", "jwt_secret", "admin_password"],
)
class TestSecretFromFile:
    @pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"], ids=repr)
    @pytest.mark.parametrize("start", ["", "\ufeff"], ids=ascii)
    def test_is_read_without_its_newline_and_byte_order_mark(
        self, tmp_path: Path, name: str, text: str, start: str, end: str
    ) -> None:
        (tmp_path / "file").write_bytes(f"{start}{text}{end}".encode())
        settings = read(**{f"{name}_file": str(tmp_path / "file")})
        assert getattr(settings, name) == text

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            (b"", "the file is empty"),
            (b"\n", "the file is empty"),
            (b"\xff" * 40, "the file must be UTF-8 text"),
            (b"short", "must be "),
            (b"a line of text,\r\nand another, and more\n", "must not contain control characters"),
            ("postgresql://PowerShell@5/1".encode("utf-16"), "the file must be UTF-8 text"),
        ],
    )
    def test_must_be_good(
        self, tmp_path: Path, name: str, text: str, content: bytes, problem: str
    ) -> None:
        (tmp_path / "file").write_bytes(content)
        assert mistake(**{f"{name}_file": str(tmp_path / "file")}).startswith(problem)

    def test_must_be_readable(self, tmp_path: Path, name: str, text: str) -> None:
        missing, folder = mistake(**{f"{name}_file": str(tmp_path / "missing")}), str(tmp_path)
        assert missing == "can't read the file: No such file or directory"
        assert mistake(**{f"{name}_file": folder}) == "can't read the file: Is a directory"
        assert mistake(**{f"{name}_file": "\0"}) == "must not contain control characters"
        assert mistake(**{f"{name}_file": ""}) == "is set, but empty"

    def test_is_not_given_beside_the_secret(self, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / "file").write_text(text)
        variable = f"PISYNC_{name.upper()}"
        assert mistakes({variable: text, f"{variable}_FILE": str(tmp_path / "file")}) == [
            f"{variable}: set it or {variable}_FILE, not both"
        ]


class TestProfile:
    def test_is_a_json_object(self) -> None:
        assert read(profile='{"seed": 7, "max_pending": 5}').profile == {
            "seed": 7,
            "max_pending": 5,
        }

    @pytest.mark.parametrize(
        "text",
        ["{", "{'seed': 7}", '{"seed": NaN}', "[" * 10_000, '{"seed": "\udc80"}'],
        ids=lambda text: ascii(text[:20]),
    )
    def test_must_be_json(self, text: str) -> None:
        assert mistake(profile=text).startswith("must be JSON: ")

    @pytest.mark.parametrize("text", ["[]", "7", "null", '"seed"'])
    def test_must_be_an_object(self, text: str) -> None:
        assert mistake(profile=text) == 'must be a JSON object, such as {"seed": 7}'


class TestLoginFailures:
    @pytest.mark.parametrize(
        ("text", "value"),
        [("10/60", (10, 60)), ("1/0.5", (1, 0.5)), ("003/3600", (3, 3600)), ("off", None)],
    )
    def test_are_so_many_in_so_many_seconds(
        self, text: str, value: tuple[int, float] | None
    ) -> None:
        assert read(login_failures=text).login_failures == value

    @pytest.mark.parametrize(
        "text",
        [
            "0/60",
            "10/0",
            "10/0.0",
            "-1/60",
            "10",
            "10/",
            "/60",
            "10/60s",
            "1.5/60",
            "10 / 60",
            "on",
        ],
    )
    def test_must_be_above_0(self, text: str) -> None:
        assert mistake(login_failures=text).startswith("must be off, or failures per seconds")


class TestTrustedProxies:
    def test_are_addresses_and_networks(self) -> None:
        assert read(trusted_proxies="10.0.0.0/8, 192.0.2.7,fd00::/8,::1").trusted_proxies == (
            ipaddress.ip_network("10.0.0.0/8"),
            ipaddress.ip_network("192.0.2.7/32"),
            ipaddress.ip_network("fd00::/8"),
            ipaddress.ip_network("::1/128"),
        )

    def test_addresses_of_ipv4_are_that_however_they_are_written(self) -> None:
        assert read(trusted_proxies="::ffff:127.0.0.1,::ffff:10.0.0.0/104").trusted_proxies == (
            ipaddress.ip_network("127.0.0.1/32"),
            ipaddress.ip_network("10.0.0.0/8"),
        )

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ("10.0.0.1/8", "10.0.0.1/8"),
            ("10.0.0.0/33", "10.0.0.0/33"),
            ("::1,proxy", "proxy"),
            ("::1,", ""),
            ("*", "*"),
        ],
    )
    def test_are_nothing_else(self, text: str, wrong: str) -> None:
        assert mistake(trusted_proxies=text).endswith(f"; '{wrong}' is neither")


class TestCorsOrigins:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("*", ("*",)),
            (
                "https://a.example, http://localhost:3000",
                ("https://a.example", "http://localhost:3000"),
            ),
            ("HTTPS://App.Example:8443", ("https://app.example:8443",)),
            ("https://a.example:443,http://b:80", ("https://a.example", "http://b")),
            ("http://a:443,https://b:80", ("http://a:443", "https://b:80")),
            ("http://[::1]:3000", ("http://[::1]:3000",)),
            ("capacitor://localhost", ("capacitor://localhost",)),
            ("http://LOCALHOST:*,http://[::1]:*", ("http://localhost:*", "http://[::1]:*")),
        ],
    )
    def test_are_as_browsers_send_them(self, text: str, value: tuple[str, ...]) -> None:
        assert read(cors_origins=text).cors_origins == value

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ("https://a.example/", "https://a.example/"),
            ("https://a.example/path", "https://a.example/path"),
            ("https://a.example?x", "https://a.example?x"),
            ("https://user@a.example", "https://user@a.example"),
            ("http://b,a.example", "a.example"),
            ("http://b,*", "*"),
            ("http://b,", ""),
            ("http://", "http://"),
            ("http://a:x", "http://a:x"),
            ("http://a:*", "http://a:*"),
            ("null", "null"),
        ],
    )
    def test_are_nothing_else(self, text: str, wrong: str) -> None:
        assert mistake(cors_origins=text).endswith(f"; '{wrong}' is none")


class TestAllowedHosts:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("*", ("*",)),
            ("API.example, .dev.example", ("api.example", ".dev.example")),
            ("192.0.2.7,::1", ("192.0.2.7", "::1")),
        ],
    )
    def test_are_names(self, text: str, value: tuple[str, ...]) -> None:
        assert read(allowed_hosts=text).allowed_hosts == value

    @pytest.mark.parametrize(
        "text", ["a.example:80", "http://a.example", "*.a.example", ".", "a b"]
    )
    def test_are_nothing_else(self, text: str) -> None:
        assert mistake(allowed_hosts=text).endswith(f"; '{text}' is none")


@pytest.mark.parametrize("text", ["http://collector:4318", "https://user:secret@c.example/x/"])
def test_traces_go_to_a_url(text: str) -> None:
    assert read(otlp_endpoint=text).otlp_endpoint == text
    assert "secret" not in repr(read(otlp_endpoint=text))


@pytest.mark.parametrize(
    "text", ["collector:4318", "ftp://c", "http://", "http://c?x", "http://c d"]
)
def test_traces_go_nowhere_else(text: str) -> None:
    assert mistake(otlp_endpoint=text) == "must be a URL, http:// or https://, without a query"


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("log_level", ["debug", "info", "warning", "error", "critical"]),
        ("log_format", ["auto", "text", "json"]),
        ("access_log", ["on", "off"]),
    ],
)
class TestChoice:
    def test_is_one_of_its_words(self, name: str, choices: list[str]) -> None:
        values = {each: getattr(read(**{name: each}), name) for each in choices}
        assert values == {each: {"on": True, "off": False}.get(each, each) for each in choices}

    @pytest.mark.parametrize("text", ["INFO", "true", "1", "yes", "info ", "warn"])
    def test_is_no_other_word(self, name: str, choices: list[str], text: str) -> None:
        assert mistake(**{name: text}) == f"must be one of {', '.join(choices)}, not '{text}'"
