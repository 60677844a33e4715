-- Makes a unit of work on a fleet true, as a whole, in one call: so that nobody ever holds a lock
-- while it thinks, and one that is stopped, or cut off, or dead, stands in nobody's way.
--
-- The work was computed before, from what was read then. If that holds no more, nothing happens: the
-- fleet is gone; its version is not `at_version`; more than `most_pending` syncs are pending (NULL:
-- however many); or a device is not at the attempt and status that it was at. NULL is returned if
-- nothing was written by then; else the transaction fails (PS001): to undo a part of it, a block with
-- EXCEPTION, costs every commit a second transaction id. If all holds, the id of the newest error log
-- before is returned.
--
-- What there is nothing of is NULL.
CREATE FUNCTION commit_work(
    of_fleet bigint,
    at_version bigint,
    most_pending bigint,
    most_error_logs bigint,
    -- By rising ids.
    devices_changed device_change[],
    -- How many devices more, or fewer, have a status.
    statuses_changed status_change[],
    -- Error logs, oldest first.
    failures failure[],
    -- What the ledger counts.
    counted tally[],
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
    newest bigint;
    changed bigint := 0;
    failed bigint := cardinality(failures);
    status status_change;
    more tally;
    new_counts tally[];
    notice text;
BEGIN
    -- All replicas do what is due in a fleet that lives, and so are often late: they look first, for a
    -- transaction that fails is an error in PostgreSQL's log. Nowhere else is that worth its price.
    IF cardinality(devices_changed) > 1 AND EXISTS (SELECT FROM traffic WHERE fleet_id = of_fleet) THEN
        PERFORM FROM unnest(devices_changed) AS change JOIN devices ON devices.ctid = (
                SELECT ctid FROM devices AS same
                WHERE same.fleet_id = of_fleet AND same.device_id = change.device_id
                    AND same.sync_status_code = change.code_before
            )
            AND devices.attempt = change.attempt_before
            AND devices.sync_status_code = change.code_before
        FOR NO KEY UPDATE OF devices;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed < cardinality(devices_changed) THEN
            RETURN NULL;
        END IF;
    END IF;

    IF devices_changed IS NOT NULL THEN
        -- In the order of their ids: calls about the same devices wait for each other, but never in a
        -- circle. The fleet's turn is taken after that, for as short a time as it can be.
        -- By their places, which are looked up one by one: so no plan reads all devices of a fleet,
        -- however small it is when the plan is made, and whichever index it takes. One that is updated
        -- meanwhile is compared anew.
        UPDATE devices
        SET last_sync_at = change.last_sync_at,
            sync_status_code = change.sync_status_code,
            error_message = change.error_message,
            last_attempt_at = change.last_attempt_at,
            attempt = change.attempt,
            due_at = change.due_at,
            planned_status_code = change.planned_status_code,
            planned_error_message = change.planned_error_message
        FROM unnest(devices_changed) AS change
        WHERE devices.ctid = (
                SELECT ctid FROM devices AS same
                WHERE same.fleet_id = of_fleet AND same.device_id = change.device_id
                    AND same.sync_status_code = change.code_before
            )
            AND devices.attempt = change.attempt_before
            AND devices.sync_status_code = change.code_before;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed < cardinality(devices_changed) THEN
            IF changed = 0 THEN
                RETURN NULL;
            END IF;
            RAISE EXCEPTION 'work holds no more' USING ERRCODE = 'PS001';
        END IF;
    END IF;

    IF failed IS NULL AND clock_speed IS NULL AND new_profile IS NULL THEN
        SELECT newest_error INTO newest FROM turns
        WHERE fleet_id = of_fleet AND version = at_version FOR UPDATE;
    ELSE
        UPDATE turns
        SET newest_error = newest_error + coalesce(failed, 0),
            version = version + (clock_speed IS NOT NULL OR new_profile IS NOT NULL)::integer
        WHERE fleet_id = of_fleet AND version = at_version
        RETURNING newest_error - coalesce(failed, 0) INTO newest;
    END IF;
    IF newest IS NULL THEN
        IF changed = 0 THEN
            RETURN NULL;
        END IF;
        RAISE EXCEPTION 'work holds no more' USING ERRCODE = 'PS001';
    END IF;

    IF statuses_changed IS NOT NULL THEN
        FOREACH status IN ARRAY statuses_changed LOOP
            UPDATE status_counts SET n = n + status.devices
            WHERE fleet_id = of_fleet AND sync_status_code = status.sync_status_code
                AND (most_pending IS NULL OR sync_status_code <> 202 OR n <= most_pending);
            IF NOT FOUND AND most_pending IS NOT NULL THEN
                RAISE EXCEPTION 'work holds no more' USING ERRCODE = 'PS001';
            END IF;
        END LOOP;
    END IF;

    IF failed IS NOT NULL THEN
        INSERT INTO error_logs
        SELECT of_fleet, newest + place, device_id, attempt, sync_status_code, error_message,
            occurred_at
        FROM unnest(failures) WITH ORDINALITY
            AS each_one (device_id, attempt, sync_status_code, error_message, occurred_at, place);
        DELETE FROM error_logs
        WHERE fleet_id = of_fleet AND error_id <= newest + failed - most_error_logs;
    END IF;

    IF counted IS NOT NULL THEN
        FOREACH more IN ARRAY counted LOOP
            UPDATE tallies SET n = n + more.n
            WHERE fleet_id = of_fleet AND what = more.what AND error_message = more.error_message;
            IF NOT FOUND THEN
                new_counts := new_counts || more;
            END IF;
        END LOOP;
        IF new_counts IS NOT NULL THEN
            WITH added AS (
                SELECT * FROM unnest(new_counts)
            ), placed AS (
                SELECT *, row_number() OVER (PARTITION BY what ORDER BY error_message) + (
                    SELECT count(*) FROM tallies WHERE tallies.fleet_id = of_fleet
                        AND tallies.what = added.what AND tallies.error_message <> '(other)'
                ) AS place
                FROM added
            ), bounded AS (
                SELECT what, n,
                    CASE WHEN place <= 1000 THEN error_message ELSE '(other)' END AS error_message
                FROM placed
            )
            INSERT INTO tallies AS known
            SELECT of_fleet, what, error_message, sum(n) FROM bounded GROUP BY what, error_message
            ON CONFLICT (fleet_id, what, error_message) DO UPDATE SET n = known.n + excluded.n;
        END IF;
    END IF;

    IF scripted_ids IS NOT NULL THEN
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
    END IF;

    IF notices IS NOT NULL THEN
        -- Sent to all replicas once this is true, in the order in which it becomes true. `NOTIFY` would
        -- let all transactions of the cluster wait for each other's commits: whoever can, does it later.
        FOREACH notice IN ARRAY notices LOOP
            INSERT INTO outbox
            VALUES (nextval('outbox_positions'), of_fleet, '[' || newest || ',' || notice);
        END LOOP;
        IF current_setting('pisync.sends_notices', true) IS DISTINCT FROM 'on' THEN
            PERFORM send_notices_of(of_fleet);
        END IF;
    END IF;
    RETURN newest;
END
$$
