-- One sequence for the resource versions of all objects: a version says "this very write" over all
-- kinds, so that a client can never confuse versions of two objects, and a restored object never
-- gets an old version again.
CREATE SEQUENCE resource_version AS bigint;

-- Shared check of organisation and app names. The same rule as in the API types; here it guards
-- against writers that bypass them, because names become DNS labels and engine names.
CREATE FUNCTION is_object_name(name text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN name ~ '^[a-z]([a-z0-9]|-[a-z0-9])*$' AND length(name) <= 30;
