-- Counts a request, and returns how many were counted under its counter before; NULL if that would
-- be one counter more than `most`. Returns no version, and counts nothing, if the fleet is gone or
-- has no settings.
CREATE FUNCTION count_request(
    of_fleet bigint,
    of_counter bigint,
    most integer,
    OUT earlier bigint,
    OUT at_version bigint
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT version INTO at_version FROM request_settings WHERE fleet_id = of_fleet;
    UPDATE request_counts SET n = n + 1 WHERE fleet_id = of_fleet AND counter = of_counter
    RETURNING n - 1 INTO earlier;
    IF FOUND THEN
        RETURN;
    END IF;
    -- Whoever adds a counter waits for this row, so that it is there until the end.
    UPDATE request_settings SET counters = counters + 1
    WHERE fleet_id = of_fleet AND counters < most;
    IF FOUND THEN
        INSERT INTO request_counts AS known VALUES (of_fleet, of_counter, 1)
        ON CONFLICT (fleet_id, counter) DO UPDATE SET n = known.n + 1
        RETURNING n - 1 INTO earlier;
    END IF;
END
$$
