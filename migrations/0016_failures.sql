-- What the task that made a generation fail was, and its last lines, kept because the engine removes the
-- log together with the task when the generation before is restored.
ALTER TABLE revisions ADD COLUMN failure jsonb CHECK (jsonb_typeof(failure) = 'object');
