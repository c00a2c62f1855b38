-- Who issues locks the account before it looks for the highest number: an invoice that is not there yet cannot be locked.
-- The lock is a statement of its own, so that the number is not older than the wait for it.

CREATE OR REPLACE FUNCTION issue_invoice(account text, invoice text, amount bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE following bigint;
BEGIN
  IF amount <= 0 THEN RETURN NULL; END IF;
  PERFORM FROM accounts WHERE key = account FOR UPDATE;
  SELECT coalesce(max(number), 0) + 1 INTO following FROM invoices WHERE key = account;
  INSERT INTO invoices (key, member, number) VALUES (account, invoice, following);
  RETURN following;
END $$;
