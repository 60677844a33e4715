"""Settings: how a process is to run. They are read from the environment in this one place."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self, cast

from environs import Env, EnvValidationError, ValidationError

from pisync.config.certificate import BadCertificate, ServerCertificate
from pisync.config.settings_schema import (
    FILE_SUFFIX,
    PREFIX,
    VARIABLES,
    Variable,
    option_of,
)
from pisync.config.texts import LoginFailures, Network
from pisync.model.parsing.errors import InvalidValue
from pisync.model.parsing.profile import parse_profile


class InvalidSettings(Exception):
    """Settings are not valid.

    Attributes:
        mistakes: All of them, each naming its variable or option.
        log_format: The form in which to tell them, so far as it is known.
    """

    def __init__(self, mistakes: Sequence[str], log_format: str = "auto") -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = tuple(mistakes)
        self.log_format = log_format


DEFAULT_LOGIN_FAILURES = LoginFailures(10, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this process is to run. `VARIABLES` says what each field means.

    `profile` is a JSON object: what it leaves out has its default. `devices` is None for
    the hard-coded ones, `login_failures` for no limit. An unset `jwt_secret` or `admin_password` is
    for the store to draw, or to do without. What may hold a password is not shown.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    store: str = field(default="memory", repr=False)
    store_direct: str | None = field(default=None, repr=False)
    jwt_secret: str | None = field(default=None, repr=False)
    jwt_secret_previous: str | None = field(default=None, repr=False)
    token_ttl: int = 3600
    admin_password: str | None = field(default=None, repr=False)
    bcrypt_cost: int = 12
    devices: int | None = None
    profile: Mapping[str, object] = field(default_factory=dict)
    fleets: Path | None = None
    max_devices: int = 10_000_000
    error_logs: int = 100_000
    max_streams: int = 10_000
    max_connections: int = 20_000
    max_requests: int = 500
    login_failures: LoginFailures | None = DEFAULT_LOGIN_FAILURES
    trusted_proxies: tuple[Network, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] | None = None
    keepalive: int = 75
    drain_delay: int = 1
    otlp_endpoint: str | None = field(default=None, repr=False)
    log_level: str = "info"
    log_format: str = "auto"
    access_log: bool = False

    @property
    def store_is_shared(self) -> bool:
        """Whether several processes may use the store at a time."""
        return _is_shared(self.store)

    @property
    def shown_store(self) -> str:
        """The store as anybody may see it: of a database no user, no password and no options."""
        if not self.store_is_shared:
            return self.store
        authority, _, rest = self.store.removeprefix("postgresql://").partition("/")
        return f"postgresql://{authority.rpartition('@')[2]}/{rest.partition('?')[0]}"

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] = os.environ,
        options: Mapping[str, str] | None = None,
        *,
        to_serve: bool = False,
    ) -> Self:
        """Read settings from variables, and from options (by the same names), which win.

        Args:
            environ: The variables; others than PISYNC_* don't matter.
            options: Texts by the variables' names.
            to_serve: Whether to look for mistakes that only a server minds, too.

        Raises:
            InvalidSettings: With every mistake there is.
        """
        options = options or {}
        env = _Reader(_overridden(environ, options))
        values = {
            variable.field: env.read(variable)
            for variable in VARIABLES
            if variable.names_in(env.environ)
        }
        mistakes = env.mistakes()
        profile = values.get("profile")
        if profile is not None:
            mistakes["PISYNC_PROFILE"] = _profile_mistakes(profile)
        if (values.get("devices") or 0) > (values.get("max_devices") or cls().max_devices):
            mistakes["PISYNC_DEVICES"] = ["must not be above PISYNC_MAX_DEVICES"]
        if _needs_no_direct_way(values):
            mistakes["PISYNC_STORE_DIRECT"] = ["is for PostgreSQL: PISYNC_STORE is another store"]
        if to_serve and _lacks_secret(values):
            mistakes["PISYNC_JWT_SECRET"] = ["must be set: PostgreSQL's replicas share it"]
        if to_serve:
            mistakes.update(_tls_mistakes(values))
        lines = [
            f"{option_of(name) if name in options else name}: {text}"
            for variable in VARIABLES
            for name in variable.names
            for text in mistakes.get(name, ())
        ]
        if lines:
            raise InvalidSettings(lines, values.get("log_format") or "auto")
        return cls(**values)


def _profile_mistakes(profile: object) -> list[str]:
    try:
        parse_profile(profile)
    except InvalidValue as exc:
        return [f"{field}: {text}" for field, texts in exc.errors.items() for text in texts]
    return []


def _tls_mistakes(values: Mapping[str, Any]) -> dict[str, list[str]]:
    certificate, key = (values.get(field) for field in ("tls_cert", "tls_key"))
    if certificate is None and key is None:
        return {}
    if certificate is None or key is None:
        missing = "PISYNC_TLS_CERT" if certificate is None else "PISYNC_TLS_KEY"
        return {missing: ["must be set, too: a certificate and its key go together"]}
    try:
        ServerCertificate(certificate, key)
    except BadCertificate as exc:
        return {PREFIX + exc.field.upper(): [str(exc)]}
    return {}


def _is_shared(store: str) -> bool:
    return store.startswith("postgresql:")


def _needs_no_direct_way(values: Mapping[str, Any]) -> bool:
    """Return whether there is a way past a pooler to a store that has none."""
    store = values.get("store", "memory")
    return bool(values.get("store_direct") and store) and not _is_shared(store)


def _lacks_secret(values: Mapping[str, Any]) -> bool:
    """Return whether the store needs a secret from the settings, and there is none at all."""
    return "jwt_secret" not in values and _is_shared(values.get("store") or "")


def default_of(variable: Variable) -> str:
    """Return a variable's default, as a text to read."""
    return variable.unset or _as_text(getattr(Settings(), variable.field))


_COMPOSE_VARIABLES = {
    *("PISYNC_ANSWER_TIMEOUT", "PISYNC_IMAGE", "PISYNC_MEMORY", "PISYNC_NETWORK"),
}
"""What only the Compose files read, which hand a file `.env` on whole."""


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the names that look like a setting but are not one."""
    known = {name for variable in VARIABLES for name in variable.names} | _COMPOSE_VARIABLES
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine can call who listens on `host`."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def settings_that_close_a_container(
    settings: Settings, environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the variables by which nobody outside this container can call it, with the reasons.

    None outside the image, which says by a variable that it is one, as systemd's convention has it.
    """
    closed: dict[str, str] = {}
    if environ.get("container") != "pisync":
        return closed
    if is_loopback(settings.host):
        closed["PISYNC_HOST"] = "a loopback address is the container's own; 0.0.0.0 takes all"
    if settings.port == 0:
        closed["PISYNC_PORT"] = "neither who publishes a port nor the health check can know it"
    return closed


def _overridden(environ: Mapping[str, str], options: Mapping[str, str]) -> dict[str, str]:
    """Put options over variables: one for a secret goes over the variable for its file, too."""
    beaten = {
        name for variable in VARIABLES if variable.names_in(options) for name in variable.names
    }
    return {name: text for name, text in environ.items() if name not in beaten} | dict(options)


class _Reader(Env):
    """Reads the variables of a mapping; its base would read the process's own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(eager=False)
        self.environ = environ
        self.add_parser("parsed", lambda text, parse: parse(text))

    def _get_value(self, env_key: str, default: Any) -> Any:
        return self.environ.get(env_key, default)

    def read(self, variable: Variable) -> Any:
        """Return the value of a variable that is set; `mistakes` says what is wrong with it."""
        name, *others = variable.names_in(self.environ)
        if others:
            parse: Callable[[str], object] = partial(_refuse_beside, others[0])
        elif name.endswith(FILE_SUFFIX):
            parse = variable.read_file
        else:
            parse = variable.read_text
        return self.parsed(name, parse=parse)

    def mistakes(self) -> dict[str, list[str]]:
        """End the reading; return what was wrong, by variable."""
        try:
            self.seal()
        except EnvValidationError as exc:
            # A list is what an eager reader would raise.
            return dict(cast("Mapping[str, list[str]]", exc.error_messages))
        return {}


def _refuse_beside(other: str, _: str) -> object:
    raise ValidationError(f"set it or {other}, not both")


def _as_text(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
