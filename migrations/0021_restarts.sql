-- How often each process type was restarted by hand: `{"web": 2}`. Beside the spec, so that applying a
-- manifest again neither undoes nor repeats a restart. Part of what tasks are made from, so a restart is a
-- release like any other: started beside the old one, checked, and only then in its place.
ALTER TABLE apps ADD COLUMN restarts jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(restarts) = 'object');
ALTER TABLE revisions ADD COLUMN restarts jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(restarts) = 'object');

CREATE TRIGGER revisions_restarts_immutable
    BEFORE UPDATE OF restarts ON revisions
    FOR EACH STATEMENT EXECUTE FUNCTION revisions_refuse_rewrite();
