"""The tables of the stores that outlive the process.

Those of `metadata` are the same in both databases; those of `shared` are PostgreSQL's alone, which
several processes write to. Rows of a fleet are keyed by `fleet_id` first and no transaction of a
fleet's own spans fleets, so that a distributed database can shard by it. A reset gives the fleet a
new id. Times are fleet time, in microseconds, unless said otherwise.

Where a variable here has another name than its table, the table's is that of the first version:
it stays, so that replicas of two versions can share a database.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

_NAMES = {"pk": "pk_%(table_name)s", "uq": "uq_%(table_name)s_%(column_0_name)s"}

metadata = MetaData(naming_convention=_NAMES)
shared = MetaData(naming_convention=_NAMES)

fleets = Table(
    "fleets",
    metadata,
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("first_data", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("profile", Text, nullable=False),
    # The clock: fleet time at a time of the wall clock (microseconds since 1970), and its speed.
    Column("fleet_time", BigInteger, nullable=False),
    Column("wall_time", BigInteger, nullable=False),
    Column("speed", Float(53), nullable=False),
    # When it was made or reset; null if 0.1.0 did that.
    Column("started_at", BigInteger),
    # Whether a clock of speed 0 moves itself; null: no. To 0.1.0 it is a manual clock.
    Column("auto_clock", Boolean),
)

devices = Table(
    "devices",
    metadata,
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("device_id", BigInteger, primary_key=True, autoincrement=False),
    Column("last_sync_at", BigInteger),
    Column("sync_status_code", SmallInteger, nullable=False),
    Column("error_message", Text),
    Column("last_attempt_at", BigInteger, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    # Of a pending device that is not held: what its attempt will come to, and when. Of one that is
    # not pending, in a fleet that lives: when it begins its own.
    Column("due_at", BigInteger),
    Column("planned_status_code", SmallInteger),
    Column("planned_error_message", Text),
)

scripts = Table(
    "scripts",
    metadata,
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("device_id", BigInteger, primary_key=True, autoincrement=False),
    Column("steps", Text, nullable=False),
    Column("sticky", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
)

polls = Table(
    "polls",
    metadata,
    # Of devices whose attempt is pending for so many more reads, what it comes to after them. A row
    # of another attempt than the device's present one means nothing.
    Column(
        "fleet_id",
        BigInteger,
        ForeignKey("fleets.fleet_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("device_id", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", BigInteger, nullable=False),
    Column("remaining", Integer, nullable=False),
    Column("planned_status_code", SmallInteger, nullable=False),
    Column("planned_error_message", Text),
)

error_logs = Table(
    "error_logs",
    metadata,
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("error_id", BigInteger, primary_key=True, autoincrement=False),
    Column("device_id", BigInteger, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("sync_status_code", SmallInteger, nullable=False),
    Column("error_message", Text, nullable=False),
    Column("occurred_at", BigInteger, nullable=False),
)

ledger_counts = Table(
    "tallies",
    metadata,
    # The ledger's counts.
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("what", Text, primary_key=True),
    Column("error_message", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
)

request_settings = Table(
    "request_settings",
    metadata,
    # What a fleet's requests meet and leave behind; no row where that is what each fleet begins
    # with. With the row goes all that belongs to it.
    Column(
        "fleet_id",
        BigInteger,
        ForeignKey("fleets.fleet_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    # How many requests the journal keeps.
    Column("journal", Integer, nullable=False),
    # The rules for faults, as clients send them.
    Column("rules", Text, nullable=False),
    # The rest is for replicas: a number that rises with each change of the rules, how many rows of
    # `request_counts` there are, and the number of the newest request in the journal.
    Column("version", BigInteger, nullable=False),
    Column("counters", Integer, nullable=False),
    Column("newest_request", BigInteger, nullable=False),
)


def _fleet_with_settings() -> Column[int]:
    return Column(
        "fleet_id",
        BigInteger,
        ForeignKey(request_settings.c.fleet_id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    )


request_counts = Table(
    "request_counts",
    metadata,
    _fleet_with_settings(),
    # Requests of a user on a device, by a digest; and by the place of a rule, those that it hit.
    Column("counter", BigInteger, primary_key=True, autoincrement=False),
    Column("n", BigInteger, nullable=False),
)

remembered_answers = Table(
    "remembered_answers",
    metadata,
    # What is remembered of requests with an idempotency key, the newest of each fleet.
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    # Digests: of user and key, of path and body.
    Column("key", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("answer", LargeBinary, nullable=False),
    # How many transactions the request has taken, and whether that were all.
    Column("steps", Integer, nullable=False),
    Column("is_complete", Boolean, nullable=False),
    # Wall clock (microseconds since 1970); PostgreSQL's never steps back.
    Column("made_at", BigInteger, nullable=False),
)

lifetimes = Table(
    "lifetimes",
    metadata,
    # Of the fleets that are deleted when nobody uses them for so many seconds. A table of its own:
    # it is written every few seconds, and `fleets` is read by every call.
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("ttl", Integer, nullable=False),
    # When somebody used it: wall clock on SQLite, steady time on PostgreSQL.
    Column("used_at", BigInteger, nullable=False),
)

traffic = Table(
    "traffic",
    metadata,
    # Of the fleets that live: since when (fleet time), by which devices that have no row, or no
    # moment yet, know theirs.
    Column(
        "fleet_id",
        BigInteger,
        ForeignKey("fleets.fleet_id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("since", BigInteger, nullable=False),
    # For replicas, which write down all moments: up to which device they have; null: all of them.
    Column("prepared", BigInteger),
)

accounts = Table(
    "accounts",
    metadata,
    Column("key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("password_hash", LargeBinary, nullable=False),
    Column("scopes", Text, nullable=False),
)

revocations = Table(
    "restrictions",
    metadata,
    # Which tokens in an account's name are refused, if any; it outlives the account.
    Column("key", Text, primary_key=True),
    Column("disabled", Boolean, nullable=False),
    Column("tokens_since", BigInteger, nullable=False),
    # When that was decided: wall clock, microseconds since 1970.
    Column("changed_at", BigInteger, nullable=False),
)

login_failures = Table(
    "guesses",
    metadata,
    # Failed logins, by a digest of the account's name or of the client's address.
    Column("key", LargeBinary, primary_key=True),
    Column("failures", Integer, nullable=False),
    # Wall clock (microseconds since 1970); PostgreSQL's never steps back.
    Column("window_ends", BigInteger, nullable=False),
)

# What replicas share, beyond that

fleet_versions = Table(
    "turns",
    shared,
    # Whoever writes to a fleet locks its row here first: replicas take turns.
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    # It rises with each change of profile, clock or a script: what was planned under an older one
    # must be planned anew.
    Column("version", BigInteger, nullable=False),
    Column("newest_error", BigInteger, nullable=False),
    # The fleet time that a manual clock is on its way to, which takes many turns: whoever moves it
    # next starts from there, so that moves add up, and none stays half done if its process ends.
    Column("promised_time", BigInteger, nullable=False),
)

status_counts = Table(
    "status_counts",
    shared,
    # How many devices have each status: no page should have to count a million rows.
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("sync_status_code", SmallInteger, primary_key=True, autoincrement=False),
    Column("n", BigInteger, nullable=False),
)

polled_fleets = Table(
    "polled_fleets",
    shared,
    # Those whose attempts may have polls, so that all replicas count reads.
    Column(
        "fleet_id",
        BigInteger,
        ForeignKey(fleets.c.fleet_id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
)

outbox = Table(
    "outbox",
    shared,
    # Notices of what has changed, which are still to be sent to all replicas.
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("fleet_id", BigInteger, nullable=False),
    Column("notice", Text, nullable=False),
    Index("ix_outbox_fleet", "fleet_id", "position"),
    prefixes=["UNLOGGED"],
)

notice_readers = Table(
    "notice_readers",
    shared,
    # Replicas that can't listen, and when (steady time) they were last there.
    Column("reader_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seen_at", BigInteger, nullable=False),
    prefixes=["UNLOGGED"],
)

sent_notices = Table(
    "sent_notices",
    shared,
    # Notices that were sent while there was such a replica; below 0: those about to be sent.
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("notice", Text, nullable=False),
    Column("sent_at", BigInteger, nullable=False),  # steady time
    prefixes=["UNLOGGED"],
)

tombstones = Table(
    "leftovers",
    shared,
    # Fleets that are gone, or not there yet, and when (steady time) the devices and error logs that
    # they left or never came to use may be deleted.
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("not_before", BigInteger, nullable=False),
)

requests = Table(
    "requests",
    shared,
    # The journal.
    _fleet_with_settings(),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("request_id", Text, nullable=False),
    Column("received_at", BigInteger, nullable=False),  # wall clock, microseconds since 1970
    Column("call", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("device_id", BigInteger),
    Column("user_name", Text, nullable=False),
    Column("user_agent", Text),
    Column("status", SmallInteger),
    Column("fault", Text),
    Column("attempt", BigInteger),
    Column("seconds", Float(53), nullable=False),
)

permits = Table(
    "permits",
    shared,
    # Login attempts under way. They end by themselves if the process that was to end them is gone.
    Column("permit_id", BigInteger, primary_key=True, autoincrement=False),
    Column("key", LargeBinary, primary_key=True),
    Column("expires", BigInteger, nullable=False),  # steady time
    Index("ix_permits_key", "key"),
)

steady_time = Table(
    "steady_time",
    shared,
    # One row: what to add to the wall clock so that it never steps back, and the latest time known.
    Column("shift", BigInteger, nullable=False),
    Column("latest", BigInteger, nullable=False),
)

# By key, and the oldest ones: the embedded store finds both in memory.
Index(
    "ix_remembered_answers_key",
    remembered_answers.c.fleet_id,
    remembered_answers.c.key,
    unique=True,
)
Index("ix_remembered_answers_made_at", remembered_answers.c.made_at)
# Every page, whatever its filter, what is due next, and revocations: found by index.
# The embedded store, which finds them in memory, does without.
Index("ix_devices_status", devices.c.fleet_id, devices.c.sync_status_code, devices.c.device_id)
Index(
    "ix_devices_due",
    devices.c.fleet_id,
    devices.c.due_at,
    devices.c.device_id,
    postgresql_where=devices.c.due_at.is_not(None),
)
Index(
    "ix_devices_held",
    devices.c.fleet_id,
    postgresql_where=(devices.c.sync_status_code == 202) & devices.c.due_at.is_(None),
)
Index("ix_error_logs_device", error_logs.c.fleet_id, error_logs.c.device_id, error_logs.c.error_id)
Index(
    "ix_error_logs_status",
    error_logs.c.fleet_id,
    error_logs.c.sync_status_code,
    error_logs.c.error_id,
)
Index("ix_error_logs_since", error_logs.c.fleet_id, error_logs.c.occurred_at)
Index("ix_restrictions_changed", revocations.c.changed_at)
# Pages of accounts go by bytes, whatever the database's locale.
Index("ix_accounts_page", accounts.c.key.collate("C"))
