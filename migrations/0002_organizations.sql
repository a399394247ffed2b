-- Tenants. Every other tenant table has the organisation in its key and refers to this one.
-- The name is the key: it is immutable, and it is what grants, labels and engine objects carry.
CREATE TABLE organizations (
    name text COLLATE "C" PRIMARY KEY CHECK (is_object_name(name)),
    uid uuid NOT NULL UNIQUE,
    generation bigint NOT NULL DEFAULT 1 CHECK (generation > 0),
    resource_version bigint NOT NULL DEFAULT nextval('resource_version'),
    labels jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    spec jsonb NOT NULL CHECK (jsonb_typeof(spec) = 'object'),
    created_at timestamptz NOT NULL
);
