-- Who runs a tick locks the job before it looks when it ran last, until the caller's COMMIT.

CREATE OR REPLACE FUNCTION run_tick(job text, tick int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE due boolean;
BEGIN
  SELECT tick - last >= every INTO due FROM scheduled_jobs WHERE key = job FOR UPDATE;
  IF due THEN UPDATE scheduled_jobs SET last = tick WHERE key = job; END IF;
  RETURN due;
END $$;

CREATE OR REPLACE FUNCTION change_job(job text, minutes int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  UPDATE scheduled_jobs SET every = minutes WHERE key = job;
  RETURN FOUND;
END $$;
