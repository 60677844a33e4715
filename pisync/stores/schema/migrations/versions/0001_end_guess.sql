-- Ends a guess that was allowed; counts it under each of `keys` if it failed. A window starts with
-- its first failure, and lasts `lasting` microseconds.
CREATE FUNCTION end_guess(
    old_id bigint, keys bytea[], lasting bigint, failed boolean
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    present bigint := steady_now();
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(encode(one, 'hex'), 2))
    FROM (SELECT one FROM unnest(keys) AS one ORDER BY one) AS in_order;
    DELETE FROM permits WHERE permit_id = old_id AND key = ANY(keys);
    IF failed THEN
        INSERT INTO guesses AS known
        SELECT one, 1, present + lasting FROM unnest(keys) AS one
        ON CONFLICT (key) DO UPDATE SET
            failures = CASE WHEN known.window_ends > present THEN known.failures + 1 ELSE 1 END,
            window_ends =
                CASE WHEN known.window_ends > present THEN known.window_ends
                ELSE excluded.window_ends END;
    END IF;
END
$$
