"""What replicas of 0.1.0 do differently, for stores of this version that stand in for them."""

import asyncpg

_STATEMENTS = """
    CREATE FUNCTION send_with_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM send_notices_of(NEW.fleet_id);
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER send_with_commit AFTER INSERT ON outbox FOR EACH ROW
    WHEN (current_setting('pisync.sends_notices', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION send_with_commit()"""


async def send_with_commits(url: str) -> None:
    """Let sessions of a database that lack a setting send with their commits what these tell.

    It is what `apply_work` does, which 0.1.0 calls, and this version does not.
    """
    connection = await asyncpg.connect(url)
    await connection.execute(_STATEMENTS)
    await connection.close()
