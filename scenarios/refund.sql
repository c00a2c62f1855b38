-- Answers NULL where the money went out, else what is left of the payment.
-- Who refunds locks the payment before it adds up what was refunded: a refund that is not there yet cannot be locked.
-- The lock is a statement of its own, so that the sum is not older than the wait for it.

CREATE OR REPLACE FUNCTION refund_payment(payment text, refund text, wanted int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
  room int;
BEGIN
  SELECT captured INTO room FROM payments WHERE key = payment FOR UPDATE;
  SELECT room - coalesce(sum(amount), 0) INTO room FROM refunds WHERE key = payment AND state = 'sent';
  IF wanted > room THEN RETURN room; END IF;
  INSERT INTO refunds (key, member, amount, state) VALUES (payment, refund, wanted, 'sent');
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION bounce_refunds(payment text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM payments WHERE key = payment FOR UPDATE;
  UPDATE refunds SET state = 'failed' WHERE key = payment AND state = 'sent';
  RETURN FOUND;
END $$;
