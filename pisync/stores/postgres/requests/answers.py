"""Answers that replicas remember for idempotency keys."""

from collections.abc import Iterable

from pisync.model.requests.idempotency import KEPT, RememberedAnswer
from pisync.model.timestamp import SECOND
from pisync.stores.postgres.commit import SnapshotChanges
from pisync.stores.postgres.connection.connect import Connection

STEP_SECONDS = 10
"""How long a replica may take from one step of a request to the next: who asks later goes on."""

_READ = """
    SELECT key, content, answer, steps, is_complete, made_at > steady_now() - $4::bigint
    FROM remembered_answers
    WHERE fleet_id = $1 AND key = ANY ($2::bytea[]) AND made_at > steady_now() - $3::bigint"""
# Whoever remembers something holds the fleet's turn: no two add at the same time.
_REMEMBER = """
    INSERT INTO remembered_answers AS known (
        fleet_id, number, key, content, answer, steps, is_complete, made_at
    )
    SELECT
        $1, place + coalesce((SELECT max(number) FROM remembered_answers WHERE fleet_id = $1), 0),
        key, content, answer, steps, is_complete, steady_now()
    FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::integer[], $6::boolean[])
        WITH ORDINALITY AS added (key, content, answer, steps, is_complete, place)
    ON CONFLICT (fleet_id, key) DO UPDATE SET
        number = CASE
            WHEN known.made_at > excluded.made_at - $7::bigint THEN known.number
            ELSE excluded.number
        END,
        content = excluded.content,
        answer = excluded.answer,
        steps = excluded.steps,
        is_complete = excluded.is_complete,
        made_at = excluded.made_at
    WHERE known.made_at <= excluded.made_at - $7::bigint OR (
        NOT known.is_complete
        AND known.content = excluded.content
        AND known.steps + 1 = excluded.steps
    )
    RETURNING number"""
_FORGET = "DELETE FROM remembered_answers WHERE fleet_id = $1 AND number <= $2"


async def read_answers(
    connection: Connection, fleet_id: int, keys: Iterable[bytes]
) -> dict[bytes, RememberedAnswer]:
    """Return what a fleet remembers under these keys."""
    rows = await connection.fetch(_READ, fleet_id, [*keys], KEPT, STEP_SECONDS * SECOND)
    return {key: RememberedAnswer(*answer) for key, *answer in rows}


async def remember_answers(connection: Connection, changes: SnapshotChanges, max_keys: int) -> bool:
    """Remember what changes add, in the transaction in which they become true.

    Returns whether each follows what is remembered now; if not, nothing may become true.
    """
    added = changes.remembered
    if not added:
        return True
    fleet_id = changes.fleet.fleet_id
    columns = zip(*[(key, *answer[:4]) for key, answer in added.items()], strict=True)
    rows = await connection.fetch(_REMEMBER, fleet_id, *columns, KEPT)
    if len(rows) < len(added):
        return False
    await connection.execute(_FORGET, fleet_id, max(row["number"] for row in rows) - max_keys)
    return True
