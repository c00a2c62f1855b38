-- Who handles an event locks the subscription before it looks what has come: of two, the second finds the first's event.
-- What it asks then, whether the event is known (`once`), and whether a newer one has come (`in_order`), is the rule.

CREATE OR REPLACE FUNCTION deliver_event(
  subscription text, event text, its_version bigint, its_status text, granted bigint, once boolean, in_order boolean
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE held subscriptions%ROWTYPE;
BEGIN
  SELECT * INTO held FROM subscriptions WHERE key = subscription FOR UPDATE;
  IF once AND event = ANY(held.seen) THEN RETURN false; END IF;
  IF NOT in_order OR its_version > coalesce(held.newest, 0) THEN
    held.status := its_status;
    held.newest := its_version;
  END IF;
  UPDATE subscriptions SET
    status = held.status, newest = held.newest, credits = coalesce(held.credits, 0) + granted,
    seen = array_append(held.seen, event)
  WHERE key = subscription;
  RETURN true;
END $$;
