-- Who claims locks the queue before it looks for the first free job: whoever comes second waits, and finds the next one.
-- Who ends a job locks it as well. To let claims pass each other instead, lock the job: FOR UPDATE SKIP LOCKED.

CREATE OR REPLACE FUNCTION claim_job(queue text, claimer text, wanted text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE first text;
BEGIN
  PERFORM FROM queues WHERE key = queue FOR UPDATE;
  SELECT min(member) INTO first FROM jobs
  WHERE key = queue AND state = 'free' AND (wanted = 'any' OR member = wanted);
  UPDATE jobs SET state = 'claimed', worker = claimer WHERE key = queue AND member = first;
  RETURN first;
END $$;

-- Of jobs that exclude each other one is at work; j3 is none of them.

CREATE OR REPLACE FUNCTION claim_alone(queue text, claimer text, wanted text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE first text;
BEGIN
  PERFORM FROM queues WHERE key = queue FOR UPDATE;
  SELECT min(member) INTO first FROM jobs
  WHERE key = queue AND state = 'free' AND (wanted = 'any' OR member = wanted);
  IF EXISTS (SELECT FROM jobs WHERE key = queue AND state = 'claimed' AND member <> 'j3') THEN first := NULL; END IF;
  UPDATE jobs SET state = 'claimed', worker = claimer WHERE key = queue AND member = first;
  RETURN first;
END $$;

-- Of those the first that has not ended, if it is free: never the one behind it.

CREATE OR REPLACE FUNCTION claim_head(queue text, claimer text, wanted text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE head text;
BEGIN
  PERFORM FROM queues WHERE key = queue FOR UPDATE;
  SELECT min(member) INTO head FROM jobs WHERE key = queue AND state IN ('free', 'claimed') AND member <> 'j3';
  UPDATE jobs SET state = 'claimed', worker = claimer
  WHERE key = queue AND member = head AND state = 'free' AND (wanted = 'any' OR member = wanted);
  IF NOT FOUND THEN head := NULL; END IF;
  RETURN head;
END $$;

CREATE OR REPLACE FUNCTION complete_job(queue text, job text, claimer text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM queues WHERE key = queue FOR UPDATE;
  UPDATE jobs SET state = 'done' WHERE key = queue AND member = job AND state = 'claimed' AND worker = claimer;
  RETURN FOUND;
END $$;

CREATE OR REPLACE FUNCTION cancel_job(queue text, job text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM queues WHERE key = queue FOR UPDATE;
  UPDATE jobs SET state = 'cancelled' WHERE key = queue AND member = job AND state IN ('free', 'claimed');
  RETURN FOUND;
END $$;

-- Whoever has finished writes so: no lock helps who does not look.

CREATE OR REPLACE FUNCTION complete_blindly(queue text, job text, claimer text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM FROM queues WHERE key = queue FOR UPDATE;
  UPDATE jobs SET state = 'done' WHERE key = queue AND member = job;
  RETURN FOUND;
END $$;
