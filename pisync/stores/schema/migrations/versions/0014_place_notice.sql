-- Gives a notice its position among those that were sent, as the last thing that a transaction does: it
-- keeps others from sending until it is over, and so must not wait for anything else meanwhile.
CREATE FUNCTION place_notice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('outbox', 2));
    UPDATE sent_notices SET position = nextval('sent_positions') WHERE position = NEW.position;
    RETURN NULL;
END
$$
