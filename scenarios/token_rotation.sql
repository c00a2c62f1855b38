-- Who uses a token locks its family before it compares: of two, the second finds the token replaced, and by what.

CREATE OR REPLACE FUNCTION rotate_token(family text, token text, fresh text, now_ms bigint, grace_ms bigint)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE held families%ROWTYPE;
BEGIN
  SELECT * INTO held FROM families WHERE key = family FOR UPDATE;
  held.current := coalesce(held.current, 't0');
  IF held.current = token THEN
    UPDATE families SET current = fresh, previous = token, until_ms = now_ms + grace_ms WHERE key = family;
    RETURN fresh;
  END IF;
  IF held.current = '' OR (held.previous = token AND held.until_ms > now_ms) THEN RETURN held.current; END IF;
  UPDATE families
  SET current = '', previous = coalesce(held.previous, ''), until_ms = coalesce(held.until_ms, 0) WHERE key = family;
  RETURN '';
END $$;
