-- Who moves locks both teams before it looks at either, and everybody locks them in one order: two that move in opposite
-- directions would else each hold what the other one waits for.

CREATE OR REPLACE FUNCTION move_member(source text, target text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  here teams_of_members%ROWTYPE;
  there teams_of_members%ROWTYPE;
BEGIN
  PERFORM FROM teams_of_members WHERE key IN (source, target) ORDER BY key FOR UPDATE;
  SELECT * INTO here FROM teams_of_members WHERE key = source;
  SELECT * INTO there FROM teams_of_members WHERE key = target;
  IF NOT there.open OR here.members = 0 THEN RETURN false; END IF;
  UPDATE teams_of_members SET members = CASE key WHEN source THEN here.members - 1 ELSE there.members + 1 END
  WHERE key IN (source, target);
  RETURN true;
END $$;

-- The members that the team had; NULL of one that was deleted before.
CREATE OR REPLACE FUNCTION delete_team(team text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE held teams_of_members%ROWTYPE;
BEGIN
  SELECT * INTO held FROM teams_of_members WHERE key = team FOR UPDATE;
  IF NOT held.open THEN RETURN NULL; END IF;
  UPDATE teams_of_members SET open = false, members = 0 WHERE key = team;
  RETURN held.members;
END $$;
