-- Asks whether a password may be tried, counted under each of `keys`: so while for every key the
-- failures of its window and the guesses under way are fewer than `most` together. If so, the guess
-- is under way under `new_id`, for `longest` microseconds at the most.
CREATE FUNCTION ask_to_guess(
    new_id bigint,
    keys bytea[],
    most integer,
    longest bigint,
    -- Microseconds until it may be asked again, if it is refused.
    OUT refused_for bigint,
    OUT allowed boolean
) LANGUAGE plpgsql AS $$
DECLARE
    present bigint := steady_now();
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(encode(one, 'hex'), 2))
    FROM (SELECT one FROM unnest(keys) AS one ORDER BY one) AS in_order;
    SELECT max(window_ends) - present INTO refused_for FROM guesses
    WHERE key = ANY(keys) AND window_ends > present AND failures >= most;
    allowed := refused_for IS NULL AND NOT EXISTS (
        SELECT FROM unnest(keys) AS one
        WHERE most <=
            (SELECT count(*) FROM permits WHERE key = one AND expires > present)
            + coalesce(
                (SELECT failures FROM guesses WHERE key = one AND window_ends > present), 0
            )
    );
    IF allowed THEN
        INSERT INTO permits SELECT new_id, one, present + longest FROM unnest(keys) AS one;
    END IF;
END
$$
