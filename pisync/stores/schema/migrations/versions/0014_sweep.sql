-- Deletes some of what nobody needs any more: devices, error logs and remembered answers of a fleet
-- that is gone, or was never finished, at most `most` of each; guesses of long ago; answers from
-- more than 24 hours ago; replicas that have not read notices for a minute, and notices of two
-- minutes ago. Returns whether there may be more.
CREATE FUNCTION sweep(most bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    old_id bigint;
    -- The first ones that stay.
    next_device bigint;
    next_log bigint;
    next_answer bigint;
    long_ago bigint := steady_now() - 60000000;
    has_more boolean;
BEGIN
    DELETE FROM permits WHERE expires <= steady_now();
    DELETE FROM guesses WHERE window_ends <= steady_now();
    DELETE FROM remembered_answers WHERE (fleet_id, number) IN (
        SELECT fleet_id, number FROM remembered_answers
        WHERE made_at <= steady_now() - 86400000000
        ORDER BY made_at LIMIT most FOR UPDATE SKIP LOCKED
    );
    -- A reader that comes back finds that it is gone. What it has not read may have been told some
    -- seconds before it was last there: notices stay for longer than readers.
    DELETE FROM notice_readers WHERE seen_at <= long_ago;
    WITH old AS (
        SELECT position FROM sent_notices WHERE sent_at <= long_ago - 60000000
        ORDER BY position LIMIT most FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM sent_notices USING old WHERE sent_notices.position = old.position RETURNING 1
    )
    SELECT count(*) = most INTO has_more FROM gone;
    -- Replicas do not wait for each other here.
    SELECT fleet_id INTO old_id FROM leftovers WHERE not_before <= steady_now()
    LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN has_more;
    END IF;
    SELECT device_id INTO next_device FROM devices WHERE fleet_id = old_id
    ORDER BY device_id OFFSET most LIMIT 1;
    DELETE FROM devices
    WHERE fleet_id = old_id AND device_id < coalesce(next_device, 9223372036854775807);
    SELECT error_id INTO next_log FROM error_logs WHERE fleet_id = old_id
    ORDER BY error_id OFFSET most LIMIT 1;
    DELETE FROM error_logs
    WHERE fleet_id = old_id AND error_id < coalesce(next_log, 9223372036854775807);
    SELECT number INTO next_answer FROM remembered_answers WHERE fleet_id = old_id
    ORDER BY number OFFSET most LIMIT 1;
    DELETE FROM remembered_answers
    WHERE fleet_id = old_id AND number < coalesce(next_answer, 9223372036854775807);
    IF next_device IS NULL AND next_log IS NULL AND next_answer IS NULL THEN
        DELETE FROM leftovers WHERE fleet_id = old_id;
    END IF;
    RETURN true;
END
$$
