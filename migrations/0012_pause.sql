-- A pause: until then nothing is written for the app, on the engine or the edge. Beside the spec, so that
-- applying a manifest neither ends nor begins one. What is past stays: deadlines of a rollout do not run
-- during a pause, so its end has to be known.
ALTER TABLE apps
    ADD COLUMN paused_at timestamptz,
    ADD COLUMN paused_until timestamptz,
    ADD COLUMN paused_by text,
    ADD COLUMN paused_because text,
    ADD CONSTRAINT apps_pause_whole CHECK (num_nulls(paused_at, paused_until, paused_by, paused_because) IN (0, 4)),
    ADD CONSTRAINT apps_pause_ends CHECK (paused_until >= paused_at);
