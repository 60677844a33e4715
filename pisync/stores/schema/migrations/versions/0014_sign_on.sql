-- Lets a replica read what is sent from now on. Returns the last position that it has no use for.
CREATE FUNCTION sign_on(reader bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    -- Whoever has told something, or sent it, and may not have seen this reader, is waited for.
    PERFORM pg_advisory_xact_lock(hashtextextended('notice_readers', 2));
    PERFORM pg_advisory_xact_lock(hashtextextended('outbox', 2));
    INSERT INTO notice_readers VALUES (reader, steady_now()) ON CONFLICT DO NOTHING;
    RETURN (SELECT coalesce(max(position), 0) FROM sent_notices);
END
$$
