-- Where a revision came from, beside its source: the program (and address) of who wrote it, and the revision whose
-- content a rollback or a retry took.
ALTER TABLE revisions ADD COLUMN client text NOT NULL DEFAULT '';
ALTER TABLE revisions ADD COLUMN based_on bigint CHECK (based_on > 0);

CREATE TRIGGER revisions_origin_immutable
    BEFORE UPDATE OF client, based_on ON revisions
    FOR EACH STATEMENT EXECUTE FUNCTION revisions_refuse_rewrite();
