-- Sends notices of the outbox to all replicas, in the order in which each fleet's changes became true;
-- at most `most` of them. Returns how many it has sent.
--
-- One session at a time sends for all fleets. It passes over those whose notices another transaction is
-- about to send (`send_notices_of`): it has the fleet's turn, so that there are no later ones.
--
-- Replicas that read, if there are any, find a copy in `sent_notices`. Positions there are drawn by one
-- transaction at a time, which has the lock until it is over: so they become visible in their order.
CREATE FUNCTION send_notices(most bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    sent bigint;
    is_read boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('outbox', 2));
    -- Nothing is lost with this transaction: what it is about is then still in the outbox, or all
    -- connections were lost, too.
    PERFORM set_config('synchronous_commit', 'off', true);
    is_read := EXISTS (SELECT FROM notice_readers);
    WITH taken AS (
        SELECT position FROM outbox ORDER BY position LIMIT most FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM outbox USING taken WHERE outbox.position = taken.position
        RETURNING outbox.position, notice
    ), copied AS (
        INSERT INTO sent_notices
        SELECT nextval('sent_positions'), notice, (SELECT steady_now())
        FROM (SELECT notice FROM gone WHERE is_read ORDER BY position) AS in_order
    )
    SELECT count(pg_notify('pisync', notice)) INTO sent
    FROM (SELECT notice FROM gone ORDER BY position) AS in_order;
    RETURN sent;
END
$$
