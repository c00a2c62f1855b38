-- Who leaves locks the team before it counts its owners: whoever else leaves it waits here, and then counts anew.
-- The lock is a statement of its own, so that the count is not older than the wait for it.

CREATE OR REPLACE FUNCTION leave_team(team text, who text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE owners bigint;
BEGIN
  PERFORM FROM teams WHERE key = team FOR UPDATE;
  SELECT count(*) INTO owners FROM members WHERE key = team AND owner;
  IF owners = 1 THEN RETURN false; END IF;
  UPDATE members SET owner = false WHERE key = team AND member = who AND owner;
  RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION join_team(team text, who text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM teams WHERE key = team FOR UPDATE;
  UPDATE members SET owner = true WHERE key = team AND member = who;
  RETURN FOUND;
END $$;
