-- Who enters locks the room before it counts who is in: a row that is not there yet cannot be locked.
-- The lock is a statement of its own, so that the count is not older than the wait for it.

CREATE OR REPLACE FUNCTION enter_room(room text, who text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE free bigint;
BEGIN
  SELECT rooms.places INTO free FROM rooms WHERE key = room FOR UPDATE;
  SELECT free - count(*) INTO free FROM places WHERE key = room;
  IF free < 1 THEN RETURN false; END IF;
  INSERT INTO places (key, member) VALUES (room, who);
  RETURN true;
END $$;

-- For who has looked before: whatever was true then.

CREATE OR REPLACE FUNCTION enter_anyway(room text, who text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM rooms WHERE key = room FOR UPDATE;
  INSERT INTO places (key, member) VALUES (room, who);
  RETURN true;
END $$;

CREATE OR REPLACE FUNCTION leave_room(room text, who text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM rooms WHERE key = room FOR UPDATE;
  DELETE FROM places WHERE key = room AND member = who;
  RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION look_into(room text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE free bigint;
BEGIN
  SELECT rooms.places INTO free FROM rooms WHERE key = room FOR UPDATE;
  SELECT free - count(*) INTO free FROM places WHERE key = room;
  RETURN free > 0;
END $$;
