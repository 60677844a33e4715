-- Makes a unit of work on a fleet true, as a whole, in one call: so that nobody ever holds a lock
-- while it thinks, and one that is stopped, or cut off, or dead, stands in nobody's way.
--
-- The work was computed before, from what was read then. If that holds no more, nothing happens and
-- NULL is returned: the fleet is gone; its version is not `at_version`; more than `most_pending`
-- syncs are pending (NULL: however many); or a device is not at the attempt and status that it was
-- at. Else the id of the newest error log before is returned.
CREATE FUNCTION apply_work(
    of_fleet bigint,
    at_version bigint,
    most_pending bigint,
    most_error_logs bigint,
    -- Devices: what they were, and what they are to be.
    device_ids bigint[],
    attempts_before bigint[],
    codes_before smallint[],
    synced bigint[],
    codes smallint[],
    messages text[],
    attempted bigint[],
    attempts bigint[],
    due bigint[],
    planned_codes smallint[],
    planned_messages text[],
    -- How many devices more, or fewer, have a status.
    status_codes smallint[],
    status_changes bigint[],
    -- Error logs, oldest first.
    failed_ids bigint[],
    failed_attempts bigint[],
    failed_codes smallint[],
    failed_messages text[],
    occurred bigint[],
    -- What the ledger counts.
    whats text[],
    what_messages text[],
    counts bigint[],
    -- Scripts: where each goes on; NULL: it is over.
    scripted_ids bigint[],
    positions integer[],
    -- The fleet's clock and profile; NULL: as they are.
    clock_time bigint,
    clock_real bigint,
    clock_speed double precision,
    new_profile text,
    -- What to tell all replicas.
    notices text[]
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    turn turns;
    change record;
BEGIN
    BEGIN
        -- In the order of their ids: calls about the same devices wait for each other, but never in a
        -- circle. The fleet's turn is taken after that, for as short a time as it can be.
        -- One by one: no plan of a join is good for any number of them in fleets of any size.
        FOR change IN SELECT * FROM unnest(
            device_ids, attempts_before, codes_before, synced, codes, messages, attempted, attempts,
            due, planned_codes, planned_messages
        ) AS changes (
            device_id, attempt_before, code_before, last_sync_at, sync_status_code, error_message,
            last_attempt_at, attempt, due_at, planned_status_code, planned_error_message
        ) ORDER BY device_id LOOP
            UPDATE devices
            SET last_sync_at = change.last_sync_at,
                sync_status_code = change.sync_status_code,
                error_message = change.error_message,
                last_attempt_at = change.last_attempt_at,
                attempt = change.attempt,
                due_at = change.due_at,
                planned_status_code = change.planned_status_code,
                planned_error_message = change.planned_error_message
            WHERE fleet_id = of_fleet
                AND device_id = change.device_id
                AND attempt = change.attempt_before
                AND sync_status_code = change.code_before;
            IF NOT FOUND THEN
                -- Undoes the block, and no more.
                RAISE EXCEPTION USING ERRCODE = 'PS001';
            END IF;
        END LOOP;
        SELECT * INTO turn FROM turns
        WHERE fleet_id = of_fleet AND version = at_version FOR UPDATE;
        IF turn IS NULL OR most_pending < (
            SELECT n FROM status_counts WHERE fleet_id = of_fleet AND sync_status_code = 202
        ) THEN
            RAISE EXCEPTION USING ERRCODE = 'PS001';
        END IF;
    EXCEPTION WHEN SQLSTATE 'PS001' THEN
        RETURN NULL;
    END;

    IF cardinality(device_ids) > 0 THEN
        UPDATE status_counts
        SET n = n + more.devices
        FROM unnest(status_codes, status_changes) AS more (code, devices)
        WHERE fleet_id = of_fleet AND sync_status_code = more.code;
    END IF;

    IF cardinality(failed_ids) > 0 THEN
        INSERT INTO error_logs
        SELECT of_fleet, turn.newest_error + place, device_id, attempt, code, message, occurred_at
        FROM unnest(failed_ids, failed_attempts, failed_codes, failed_messages, occurred)
            WITH ORDINALITY AS failures (device_id, attempt, code, message, occurred_at, place);
        DELETE FROM error_logs
        WHERE fleet_id = of_fleet
            AND error_id <= turn.newest_error + cardinality(failed_ids) - most_error_logs;
    END IF;

    IF cardinality(whats) > 0 THEN
        IF (
            SELECT bool_and(EXISTS (
                SELECT FROM tallies WHERE tallies.fleet_id = of_fleet
                    AND tallies.what = added.what AND tallies.error_message = added.message
            ))
            FROM unnest(whats, what_messages) AS added (what, message)
        ) THEN
            INSERT INTO tallies AS known
            SELECT of_fleet, what, message, n
            FROM unnest(whats, what_messages, counts) AS added (what, message, n)
            ON CONFLICT (fleet_id, what, error_message) DO UPDATE SET n = known.n + excluded.n;
        ELSE
            -- Some are counted for the first time.
            WITH more AS (
                SELECT what, message, n, EXISTS (
                    SELECT FROM tallies WHERE tallies.fleet_id = of_fleet
                        AND tallies.what = added.what AND tallies.error_message = added.message
                ) AS is_known
                FROM unnest(whats, what_messages, counts) AS added (what, message, n)
            ), placed AS (
                SELECT *, row_number() OVER (PARTITION BY what, is_known ORDER BY message) + (
                    SELECT count(*) FROM tallies WHERE tallies.fleet_id = of_fleet
                        AND tallies.what = more.what AND tallies.error_message <> '(other)'
                ) AS place
                FROM more
            ), bounded AS (
                SELECT what, n, CASE
                    WHEN is_known OR place <= 1000 THEN message ELSE '(other)'
                END AS message
                FROM placed
            )
            INSERT INTO tallies AS known
            SELECT of_fleet, what, message, sum(n) FROM bounded GROUP BY what, message
            ON CONFLICT (fleet_id, what, error_message) DO UPDATE SET n = known.n + excluded.n;
        END IF;
    END IF;

    IF cardinality(scripted_ids) > 0 THEN
        DELETE FROM scripts USING unnest(scripted_ids, positions) AS over (device_id, place)
        WHERE scripts.fleet_id = of_fleet
            AND scripts.device_id = over.device_id
            AND over.place IS NULL;
        UPDATE scripts SET position = going_on.place
        FROM unnest(scripted_ids, positions) AS going_on (device_id, place)
        WHERE scripts.fleet_id = of_fleet
            AND scripts.device_id = going_on.device_id
            AND going_on.place IS NOT NULL;
    END IF;

    IF clock_speed IS NOT NULL OR new_profile IS NOT NULL THEN
        UPDATE fleets
        SET fleet_time = coalesce(clock_time, fleet_time),
            wall_time = coalesce(clock_real, wall_time),
            speed = coalesce(clock_speed, speed),
            profile = coalesce(new_profile, profile)
        WHERE fleet_id = of_fleet;
        turn.version := turn.version + 1;
    END IF;
    IF cardinality(failed_ids) > 0 OR clock_speed IS NOT NULL OR new_profile IS NOT NULL THEN
        UPDATE turns
        SET version = turn.version, newest_error = newest_error + cardinality(failed_ids)
        WHERE fleet_id = of_fleet;
    END IF;

    -- Sent to all replicas once this is true, in the order in which it becomes true. `NOTIFY` would let
    -- all transactions of the cluster wait for each other's commits: whoever can, does it later.
    INSERT INTO outbox
    SELECT nextval('outbox_positions'), of_fleet, '[' || turn.newest_error || ',' || notice
    FROM (SELECT * FROM unnest(notices) WITH ORDINALITY AS told (notice, place) ORDER BY place)
        AS in_order;
    IF current_setting('pisync.sends_notices', true) IS DISTINCT FROM 'on' THEN
        PERFORM send_notices_of(of_fleet);
    END IF;
    RETURN turn.newest_error;
END
$$
