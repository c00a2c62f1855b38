-- The whole rule, in one place: whoever may write to no table calls this, and knows of no clause.

CREATE OR REPLACE FUNCTION take_from_account(which text, amount bigint)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE account shared_accounts%ROWTYPE;
BEGIN
  SELECT * INTO account FROM shared_accounts WHERE key = which FOR UPDATE;
  IF account.frozen OR account.balance < amount THEN RETURN NULL; END IF;
  UPDATE shared_accounts SET balance = account.balance - amount WHERE key = which;
  RETURN account.balance - amount;
END $$;

CREATE OR REPLACE FUNCTION freeze_account(which text)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE account shared_accounts%ROWTYPE;
BEGIN
  SELECT * INTO account FROM shared_accounts WHERE key = which FOR UPDATE;
  UPDATE shared_accounts SET frozen = true WHERE key = which;
  RETURN account.balance;
END $$;
