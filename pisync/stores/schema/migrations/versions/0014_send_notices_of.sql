-- Sends what is in the outbox of one fleet, whose turn the caller has, with the caller's transaction:
-- what that sends itself comes after it.
CREATE FUNCTION send_notices_of(of_fleet bigint) RETURNS void LANGUAGE sql AS $$
    WITH taken AS (
        SELECT position FROM outbox WHERE fleet_id = of_fleet ORDER BY position FOR UPDATE
    ), gone AS (
        DELETE FROM outbox USING taken WHERE outbox.position = taken.position
        RETURNING outbox.position, notice
    )
    SELECT count(tell_replicas(notice))
    FROM (SELECT notice FROM gone ORDER BY position) AS in_order;
    SELECT
$$
