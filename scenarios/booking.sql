-- Who books locks the host before it looks for what overlaps: a booking that is not there yet cannot be locked.
-- The lock is a statement of its own, so that the search is not older than the wait for it.

CREATE OR REPLACE FUNCTION book_host(host text, booking text, from_hour int, until_hour int)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM hosts WHERE key = host FOR UPDATE;
  PERFORM FROM bookings WHERE key = host AND starts < until_hour AND ends > from_hour;
  IF FOUND THEN RETURN false; END IF;
  INSERT INTO bookings (key, member, starts, ends) VALUES (host, booking, from_hour, until_hour);
  RETURN true;
END $$;

CREATE OR REPLACE FUNCTION cancel_booking(host text, from_hour int, until_hour int)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM hosts WHERE key = host FOR UPDATE;
  DELETE FROM bookings WHERE key = host AND starts = from_hour AND ends = until_hour;
  RETURN FOUND;
END $$;
