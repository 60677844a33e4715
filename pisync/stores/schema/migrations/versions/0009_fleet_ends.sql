-- What has changed in a fleet is told before it is told that the fleet has ended.
CREATE FUNCTION fleet_ends() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM send_notices_of(OLD.fleet_id);
    RETURN OLD;
END
$$
