-- Deletes fleets whose ttl, and `lead` microseconds more, have passed since they were last used; at
-- most `most` of them. Returns their names. Several replicas may call it at a time: each fleet is
-- one's alone.
CREATE FUNCTION forget_fleets(most integer, lead bigint) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    latest bigint := steady_now() - lead;
    expired record;
BEGIN
    FOR expired IN
        SELECT fleet_id, name FROM lifetimes JOIN fleets USING (fleet_id)
        WHERE used_at + ttl * 1000000::bigint < latest ORDER BY fleet_id LIMIT most
    LOOP
        -- Whoever makes, replaces or deletes a fleet has this lock: nobody waits for it here.
        CONTINUE WHEN NOT pg_try_advisory_xact_lock(hashtextextended(expired.name, 1));
        -- It may have been used, or be gone, by now.
        PERFORM FROM lifetimes
        WHERE fleet_id = expired.fleet_id AND used_at + ttl * 1000000::bigint < latest
        FOR UPDATE SKIP LOCKED;
        CONTINUE WHEN NOT FOUND;
        PERFORM delete_fleet(expired.name);
        RETURN NEXT expired.name;
    END LOOP;
END
$$
