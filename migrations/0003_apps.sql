-- Desired state of apps (the newest generation) with the last status.
CREATE TABLE apps (
    uid uuid PRIMARY KEY,
    org text COLLATE "C" NOT NULL REFERENCES organizations (name),
    name text COLLATE "C" NOT NULL CHECK (is_object_name(name)),
    -- Label of the platform host. "a-b" in "c" and "a" in "b-c" make the same one, so it has to be
    -- unique by itself: one host must never go to two apps.
    subdomain text COLLATE "C" NOT NULL GENERATED ALWAYS AS (name || '-' || org) STORED,
    generation bigint NOT NULL CHECK (generation > 0),
    resource_version bigint NOT NULL DEFAULT nextval('resource_version'),
    labels jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    finalizers text[] NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    deletion_timestamp timestamptz,
    spec jsonb NOT NULL CHECK (jsonb_typeof(spec) = 'object'),
    -- Secret values are never in the spec: only which version of each key it means.
    secret_versions jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(secret_versions) = 'object'),
    -- Last secret version given out; never goes back, because versions are part of engine names.
    secret_counter bigint NOT NULL DEFAULT 0,
    -- Counts everything that an app has to be looked at for: its spec, its deletion and domains that
    -- are objects of their own. The status writer stores the value that it had read, so a change
    -- between its read and its write leaves the two different, and the app is looked at again.
    desired_version bigint NOT NULL DEFAULT 1,
    observed_version bigint NOT NULL DEFAULT 0,
    observed_generation bigint NOT NULL DEFAULT 0,
    status jsonb NOT NULL DEFAULT '{"observedGeneration": 0}' CHECK (jsonb_typeof(status) = 'object'),
    UNIQUE (org, name),
    UNIQUE (org, uid),
    CONSTRAINT apps_subdomain_key UNIQUE (subdomain)
);

-- What the controller asks for after each hint: a handful of rows out of all.
CREATE INDEX apps_dirty ON apps (org, name)
    WHERE desired_version > observed_version OR generation > observed_generation OR deletion_timestamp IS NOT NULL;
