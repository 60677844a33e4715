"""The tables of the stores that outlive the process: one schema for both databases.

Rows of a fleet are keyed by `fleet_id` first and no transaction of a fleet's own spans fleets, so
that a distributed database can shard by it. A reset gives the fleet a new id. Times are fleet time,
in microseconds, unless said otherwise.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "uq": "uq_%(table_name)s_%(column_0_name)s"}
)

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
    # Of a pending device that is not held: what its attempt will come to, and when.
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

tallies = Table(
    "tallies",
    metadata,
    # The ledger's counts. Each process that writes has a shard of its own, so that no row is hot.
    Column("fleet_id", BigInteger, primary_key=True, autoincrement=False),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("what", Text, primary_key=True),
    Column("error_message", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("password_hash", LargeBinary, nullable=False),
    Column("scopes", Text, nullable=False),
)

guesses = Table(
    "guesses",
    metadata,
    # Failed logins, by a digest of the account's name or of the client's address.
    Column("key", LargeBinary, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("window_ends", BigInteger, nullable=False),  # wall clock, microseconds since 1970
)
