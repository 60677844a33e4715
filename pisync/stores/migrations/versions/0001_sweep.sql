-- Deletes some of what nobody needs any more: devices and error logs of a fleet that is gone, or was
-- never finished, at most `most` of each; guesses of long ago. Returns whether there may be more.
CREATE FUNCTION sweep(most bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    old_id bigint;
    swept bigint;
    swept_logs bigint;
BEGIN
    DELETE FROM permits WHERE expires <= steady_now();
    DELETE FROM guesses WHERE window_ends <= steady_now();
    -- Replicas do not wait for each other here.
    SELECT fleet_id INTO old_id FROM leftovers WHERE not_before <= steady_now()
    LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM devices WHERE fleet_id = old_id AND device_id IN (
        SELECT device_id FROM devices WHERE fleet_id = old_id ORDER BY device_id LIMIT most
    );
    GET DIAGNOSTICS swept = ROW_COUNT;
    DELETE FROM error_logs WHERE fleet_id = old_id AND error_id IN (
        SELECT error_id FROM error_logs WHERE fleet_id = old_id ORDER BY error_id LIMIT most
    );
    GET DIAGNOSTICS swept_logs = ROW_COUNT;
    IF swept < most AND swept_logs < most THEN
        DELETE FROM leftovers WHERE fleet_id = old_id;
    END IF;
    RETURN true;
END
$$
