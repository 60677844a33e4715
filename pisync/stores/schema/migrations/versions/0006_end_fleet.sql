-- Takes a fleet's turn and all that is small; the rest is left over, for `sweep`.
CREATE FUNCTION end_fleet(old_id bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM turns WHERE fleet_id = old_id;
    DELETE FROM status_counts WHERE fleet_id = old_id;
    DELETE FROM tallies WHERE fleet_id = old_id;
    DELETE FROM scripts WHERE fleet_id = old_id;
    DELETE FROM lifetimes WHERE fleet_id = old_id;
    INSERT INTO leftovers VALUES (old_id, steady_now());
END
$$
