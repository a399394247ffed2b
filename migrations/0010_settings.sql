-- Settings that differ from their default. Types and checks are in the program's registry, which
-- knows keys that an older or newer release does not: a key without a definition is left alone.
CREATE TABLE settings (
    key text COLLATE "C" PRIMARY KEY,
    value jsonb NOT NULL,
    resource_version bigint NOT NULL DEFAULT nextval('resource_version'),
    author text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
