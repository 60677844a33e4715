-- Puts a fleet whose devices and error logs are there into the place of the one of its name, and
-- tells all replicas. Nothing happens, and all it returns is NULL, if the one that is there is not
-- `old_id` (NULL: whichever it is), or if what was made is not there any more. With the profile, the
-- lifetime of the old one stays, too.
CREATE FUNCTION replace_fleet(
    of_name text,
    old_id bigint,
    new_id bigint,
    of_first_data text,
    of_made_at bigint,
    of_profile text, -- NULL: the old one's
    newest_error bigint,
    codes smallint[],
    counts bigint[],
    -- Whether there was none of its name, and what time it is in the fleet.
    OUT is_new boolean,
    OUT present bigint
) LANGUAGE plpgsql AS $$
DECLARE
    present_id bigint;
    present_profile text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(of_name, 1));
    SELECT fleet_id INTO present_id FROM fleets WHERE name = of_name;
    IF old_id IS NOT NULL AND old_id IS DISTINCT FROM present_id THEN
        RETURN;
    END IF;
    DELETE FROM leftovers WHERE fleet_id = new_id;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF present_id IS NOT NULL THEN
        -- What is being made true now comes first; nothing of the old fleet becomes true later.
        PERFORM FROM turns WHERE fleet_id = present_id FOR UPDATE;
        DELETE FROM fleets WHERE fleet_id = present_id RETURNING profile INTO present_profile;
        IF of_profile IS NULL THEN
            UPDATE lifetimes SET fleet_id = new_id, used_at = steady_now()
            WHERE fleet_id = present_id;
        END IF;
        PERFORM end_fleet(present_id);
    END IF;
    is_new := present_id IS NULL;
    present := wall_now();
    INSERT INTO turns VALUES (new_id, 1, newest_error, 0);
    INSERT INTO status_counts SELECT new_id, code, n FROM unnest(codes, counts) AS each_status (code, n);
    INSERT INTO fleets VALUES (
        new_id, of_name, of_first_data, of_made_at, coalesce(of_profile, present_profile),
        present, steady_now(), 1
    );
    PERFORM tell_replicas(json_build_array(0, 'replaced', of_name)::text);
END
$$
