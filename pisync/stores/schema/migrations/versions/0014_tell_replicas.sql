-- Tells all replicas something with the caller's transaction: those that listen, and those that read.
CREATE FUNCTION tell_replicas(notice text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('pisync', notice);
    -- Whoever signs on waits until this transaction is over, or else is seen here.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('notice_readers', 2));
    IF EXISTS (SELECT FROM notice_readers) THEN
        -- It gets its position (`place_notice`) right before the commit.
        INSERT INTO sent_notices VALUES (-nextval('sent_positions'), notice, steady_now());
    END IF;
END
$$
