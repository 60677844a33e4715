"""The application: everything wired together, and nothing else."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from aiohttp import web

from pisync import keys
from pisync.auth.accounts import Accounts
from pisync.auth.passwords import Passwords
from pisync.auth.revocations import RevocationFeed
from pisync.auth.tokens import Tokens
from pisync.clocks import SYSTEM_CLOCKS, MachineClocks
from pisync.concurrency.reception import ReceptionRoom
from pisync.config.jwt_secret import (
    NoSecret,
    kept_secret,
    sqlite_path,
)
from pisync.config.settings import Settings
from pisync.model.bounds import (
    BODY_BYTES,
    EVENTS,
    REMEMBERED_TOKENS,
    RENDERED_PAGES,
    STREAMS,
    WAITING_BULK_SYNCS,
    WAITING_PASSWORDS,
)
from pisync.model.first_fleet import first_fleet
from pisync.model.fleet import DEFAULT_FLEET, FirstData, FleetDefinition, Generated
from pisync.model.parsing.profile import parse_profile
from pisync.model.plans.profile import new_profile
from pisync.simulation.device_limit import DeviceLimit
from pisync.simulation.events import Broker
from pisync.simulation.idle_fleets import IdleFleets
from pisync.simulation.seeds import random_seed
from pisync.simulation.simulator import Simulator
from pisync.stores.base import Store
from pisync.stores.embedded.store import EmbeddedStore
from pisync.stores.errors import CannotOpen, StoreUnavailable
from pisync.telemetry.metrics import Metrics
from pisync.web.handlers.health import add_probes, event_loop_lag
from pisync.web.handlers.page_cache import (
    PAGES,
    PageCache,
)
from pisync.web.handlers.pages import FLEETS_SCHEMA, OPENAPI, prepare_pages
from pisync.web.pipeline.allowed_hosts import ALLOWED_HOSTS, allowed_hosts
from pisync.web.pipeline.auth import (
    GUARD,
    Guard,
    guarding,
)
from pisync.web.pipeline.cors import (
    CORS,
    Cors,
)
from pisync.web.pipeline.middleware import (
    REQUEST_OBSERVER,
    RequestObserver,
    add_headers,
    observe,
)
from pisync.web.pipeline.requests import JOURNALIST, Journalist, meeting_faults
from pisync.web.routes import add_routes
from pisync.web.transport.fast_path import FAST_PATH, FastPath

_DRAIN_SECONDS = 1.0
"""How long calls that nobody waits for any more may go on when the server stops."""


class CannotStart(Exception):
    """The settings ask for what can't be had; each line of the text says what, and what to do."""


class StartReport(NamedTuple):
    """What to report of a start: store, default fleet, and the admin's password if it was drawn."""

    store: str
    devices: int
    seed: int
    drawn_admin_password: str | None


def create_app(settings: Settings, *, clocks: MachineClocks = SYSTEM_CLOCKS) -> web.Application:
    """Return the application that these settings ask for.

    Raises:
        CannotStart: The settings ask for what can't be had.
    """
    metrics = Metrics()
    definitions = _definitions(settings)
    store = _store(settings, clocks, definitions)
    tokens = Tokens(
        _secret(settings),
        settings.token_ttl,
        previous_secret=settings.jwt_secret_previous,
        clocks=clocks,
    )
    cors = Cors(settings.cors_origins) if settings.cors_origins else None

    app = web.Application()
    app[keys.SETTINGS] = settings
    app[keys.CLOCKS] = clocks
    app[keys.FLEET_DEFINITIONS] = definitions
    app[keys.METRICS] = metrics
    app[keys.TOKENS] = tokens
    app[keys.STORE] = store
    app[keys.BROKER] = broker = Broker(settings.max_streams)
    app[keys.SIMULATOR] = simulator = Simulator(store, metrics, broker)
    waiters = simulator.waiters
    metrics.streams(lambda: broker.subscribers, lambda: waiters.count)
    app[keys.IDLE_FLEETS] = idle_fleets = IdleFleets(
        store.lifetimes, lambda: (*broker.followed(), *waiters.followed()), metrics, clocks
    )
    app[keys.DEVICE_LIMIT] = DeviceLimit(store.queries, settings.max_devices)
    app[PAGES] = pages = PageCache(store.queries)
    app[keys.BODIES] = bodies = ReceptionRoom(BODY_BYTES.size)
    for budget in store.budgets:
        metrics.bound(budget.bound, budget.in_use)
    for bound, used in (
        (BODY_BYTES, lambda: bodies.used),
        (EVENTS, lambda: broker.kept),
        (RENDERED_PAGES, lambda: len(pages)),
        (REMEMBERED_TOKENS, lambda: len(tokens)),
        (WAITING_BULK_SYNCS, lambda: simulator.bulk.queue.waiting),
        (STREAMS._replace(size=settings.max_streams), lambda: broker.places.taken),
    ):
        metrics.bound(bound, used)
    app[OPENAPI] = _openapi_document
    app[FLEETS_SCHEMA] = _fleets_schema
    app[keys.DRAINING] = asyncio.Event()
    if settings.otlp_endpoint is not None:
        _add_traces(app, settings.otlp_endpoint)
    add_probes(app)
    access = add_routes(app)
    app[REQUEST_OBSERVER] = observer = RequestObserver(metrics, access_log=settings.access_log)
    app[JOURNALIST] = journalist = Journalist(store.requests, clocks)
    note = journalist.note
    app.middlewares.append(observe(observer, note, preflight=cors.preflight if cors else None))
    app[GUARD] = guard = Guard(tokens)
    app.middlewares.append(guarding(guard, access, idle_fleets.named))
    app.middlewares.append(meeting_faults(store.requests))
    app.on_response_prepare.append(add_headers)
    if cors:
        app[CORS] = cors
        app.on_response_prepare.append(cors.add)
    hosts = allowed_hosts(settings.allowed_hosts, settings.host)
    if hosts:
        app[ALLOWED_HOSTS] = hosts
    if settings.otlp_endpoint is None:  # the fast path leaves no traces
        # Drivers of databases use timeouts, for which they need a task from the start.
        app[FAST_PATH] = FastPath(app, at_once=not settings.store_is_shared)
    app.on_shutdown.append(_end_streams)
    app.cleanup_ctx.extend(
        (
            _open_store,
            _resolve,
            _end_waits,
            _forget_fleets,
            _accounts,
            event_loop_lag,
            prepare_pages,
        )
    )
    return app


def _openapi_document() -> Mapping[str, object]:
    # Not before somebody asks: it takes long to import, and to make.
    from pisync.web.openapi.document import document  # noqa: PLC0415

    return document()


def _fleets_schema() -> Mapping[str, object]:
    from pisync.web.openapi.fleets_schema import fleets_schema  # noqa: PLC0415

    return fleets_schema()


def _definitions(settings: Settings) -> Sequence[FleetDefinition]:
    if settings.fleets is None:
        return ()
    # With its libraries, this takes long to import.
    from pisync.fleet_files.reading import InvalidFleetFiles, read_fleet_files  # noqa: PLC0415

    try:
        entries = read_fleet_files(settings.fleets)
    except InvalidFleetFiles as exc:
        raise CannotStart(str(exc)) from exc
    total = sum(entry.size for entry in entries)
    if total > settings.max_devices:
        raise CannotStart(f"PISYNC_FLEETS: {total} devices are more than PISYNC_MAX_DEVICES.")
    definitions = [entry.definition(random_seed()) for entry in entries]
    has_default = any(definition.name == DEFAULT_FLEET for definition in definitions)
    if has_default and (settings.devices is not None or settings.profile):
        raise CannotStart(
            "PISYNC_FLEETS: it has the fleet `default`; set it there, or by PISYNC_DEVICES and"
            " PISYNC_PROFILE, not both."
        )
    return definitions


def _store(
    settings: Settings, clocks: MachineClocks, definitions: Sequence[FleetDefinition]
) -> Store:
    first: FirstData = first_fleet() if settings.devices is None else Generated(settings.devices)
    profile = new_profile(parse_profile(settings.profile), random_seed())
    # Imported only where they are used: with their libraries, these take longer than all the rest.
    if settings.store_is_shared:
        from pisync.stores.postgres.store import PostgresStore  # noqa: PLC0415

        return PostgresStore(
            settings.store,
            first,
            profile,
            definitions=definitions,
            max_error_logs=settings.error_logs,
            direct=settings.store_direct,
        )
    path = sqlite_path(settings.store)
    writer = None
    if path is not None:
        from pisync.stores.embedded.sqlite.group_commit import GroupCommitWriter  # noqa: PLC0415

        writer = GroupCommitWriter(path)
    return EmbeddedStore(
        first,
        profile,
        clocks,
        definitions=definitions,
        writer=writer,
        max_error_logs=settings.error_logs,
    )


def _add_traces(app: web.Application, endpoint: str) -> None:
    try:
        from pisync.web.pipeline.tracing import Traces  # noqa: PLC0415 - an extra, which most do without
    except ImportError as exc:
        raise CannotStart(
            "PISYNC_OTLP_ENDPOINT needs the extra otel: pip install 'pisync-server[otel]'"
        ) from exc
    traces = Traces(endpoint)
    app.middlewares.append(traces.middleware)
    app.cleanup_ctx.append(traces.run)


def kept_secret_of(settings: Settings) -> str | None:
    """Return the secret that is set, or kept beside the database; None if neither is possible.

    Raises:
        CannotStart: It is not good, or the database is another program's: then nothing is written.
    """
    path = sqlite_path(settings.store)
    try:
        if settings.jwt_secret is None and path is not None:
            from pisync.stores.embedded.sqlite.opening import refuse_others  # noqa: PLC0415

            refuse_others(path)
        return kept_secret(settings)
    except (CannotOpen, NoSecret) as exc:
        raise CannotStart(str(exc)) from exc


def _secret(settings: Settings) -> str:
    kept = kept_secret_of(settings)
    if kept is None and settings.store_is_shared:
        raise CannotStart(
            "Set PISYNC_JWT_SECRET or PISYNC_JWT_SECRET_FILE: whoever shares a database must share"
            " the secret, too."
        )
    return kept or secrets.token_hex(32)


async def _open_store(app: web.Application) -> AsyncIterator[None]:
    try:
        await app[keys.STORE].open(app[keys.SIMULATOR].observer)
    except CannotOpen as exc:
        settings = app[keys.SETTINGS]
        place = f" ({settings.shown_store})" if settings.store_is_shared else ""
        raise CannotStart(f"{exc}{place}") from exc
    yield
    await app[keys.STORE].close()


async def _end_streams(app: web.Application) -> None:
    # Before the server waits for requests under way: streams would never end.
    app[keys.BROKER].close()
    app[keys.SIMULATOR].waiters.close()


async def _end_waits(app: web.Application) -> AsyncIterator[None]:
    async def when_draining() -> None:
        await app[keys.DRAINING].wait()
        app[keys.SIMULATOR].waiters.close()

    ending = asyncio.create_task(when_draining())
    yield
    ending.cancel()
    with suppress(asyncio.CancelledError):
        await ending


async def _resolve(app: web.Application) -> AsyncIterator[None]:
    resolver = asyncio.create_task(app[keys.SIMULATOR].run())
    yield
    await app[keys.SIMULATOR].drain(_DRAIN_SECONDS)
    resolver.cancel()
    with suppress(asyncio.CancelledError):
        await resolver


async def _forget_fleets(app: web.Application) -> AsyncIterator[None]:
    forgetting = asyncio.create_task(app[keys.IDLE_FLEETS].run())
    yield
    with suppress(StoreUnavailable):
        await app[keys.IDLE_FLEETS].save()
    forgetting.cancel()
    with suppress(asyncio.CancelledError):
        await forgetting


async def _accounts(app: web.Application) -> AsyncIterator[None]:
    settings = app[keys.SETTINGS]
    passwords = Passwords(settings.bcrypt_cost, app[keys.METRICS])
    app[keys.METRICS].bound(WAITING_PASSWORDS, lambda: passwords.waiting)
    revocations = RevocationFeed(app[keys.STORE].accounts, app[keys.TOKENS].revoke)
    accounts = Accounts(
        app[keys.STORE],
        passwords,
        settings.login_failures,
        revocations,
        clocks=app[keys.CLOCKS],
    )
    app[keys.ACCOUNTS] = accounts
    try:
        app[keys.DRAWN_ADMIN_PASSWORD] = await accounts.start(
            # Which of several replicas should print it?
            settings.admin_password,
            draw=not settings.store_is_shared,
        )
    except StoreUnavailable as exc:
        passwords.close()
        raise CannotStart(f"{exc} ({settings.shown_store})") from exc
    yield
    await accounts.close()
    passwords.close()


async def ineffective_settings(app: web.Application) -> list[str]:
    """Return the variables that ask for other fleets than the store was filled with."""
    settings, queries = app[keys.SETTINGS], app[keys.STORE].queries
    fleet = await queries.fleet(DEFAULT_FLEET)
    changes = parse_profile(settings.profile)
    names = []
    if settings.devices not in (None, fleet.devices):
        names.append("PISYNC_DEVICES")
    if any(getattr(fleet.profile, name) != value for name, value in changes.items()):
        names.append("PISYNC_PROFILE")
    for definition in app[keys.FLEET_DEFINITIONS]:
        fleet = await queries.fleet(definition.name)
        profile = replace(definition.profile, seed=fleet.profile.seed)
        if (fleet.devices, fleet.profile) != (definition.first.size, profile):
            names.append(f"PISYNC_FLEETS ({definition.name})")
    return names


async def start_report(app: web.Application) -> StartReport:
    """Return what to report of a start, which must be complete."""
    fleet = await app[keys.STORE].queries.fleet(DEFAULT_FLEET)
    return StartReport(
        app[keys.SETTINGS].shown_store,
        fleet.devices,
        fleet.profile.seed,
        app[keys.DRAWN_ADMIN_PASSWORD],
    )
