-- Deletes a fleet, and tells all replicas. Returns whether there was one of this name.
CREATE FUNCTION delete_fleet(of_name text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    present_id bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(of_name, 1));
    SELECT fleet_id INTO present_id FROM fleets WHERE name = of_name;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM turns WHERE fleet_id = present_id FOR UPDATE;
    DELETE FROM fleets WHERE fleet_id = present_id;
    PERFORM end_fleet(present_id);
    PERFORM tell_replicas(json_build_array(0, 'replaced', of_name)::text);
    RETURN true;
END
$$
