-- Every generation of every app: who wrote it, when, from where, and what became of it. "Before" is
-- the row of the generation before.
CREATE TABLE revisions (
    app_uid uuid NOT NULL,
    org text COLLATE "C" NOT NULL,
    generation bigint NOT NULL CHECK (generation > 0),
    spec jsonb NOT NULL CHECK (jsonb_typeof(spec) = 'object'),
    secret_versions jsonb NOT NULL DEFAULT '{}',
    author text NOT NULL,
    source text NOT NULL,
    created_at timestamptz NOT NULL,
    resolved_image text,
    verdict jsonb NOT NULL CHECK (verdict ->> 'phase' IN ('Pending', 'Rolling', 'Ready', 'Failed')),
    PRIMARY KEY (app_uid, generation),
    FOREIGN KEY (org, app_uid) REFERENCES apps (org, uid) ON DELETE CASCADE
);

-- The target after a failed generation is the newest proven one.
CREATE INDEX revisions_proven ON revisions (app_uid, generation DESC) WHERE verdict ->> 'phase' = 'Ready';

-- What was written is history; only what is found out about it (image, verdict) may change.
CREATE FUNCTION revisions_refuse_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a revision is immutable' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER revisions_immutable
    BEFORE UPDATE OF app_uid, org, generation, spec, secret_versions, author, source, created_at ON revisions
    FOR EACH STATEMENT EXECUTE FUNCTION revisions_refuse_rewrite();
