-- Certificates of the edge. They belong to the platform, not to an organisation: the edge chooses one by
-- the name that a client asks for. The key is encrypted with the key-encryption key itself; its nonce and
-- ciphertext are bound to this row and to the key's version.
CREATE TABLE certificates (
    name text COLLATE "C" PRIMARY KEY,
    uid uuid NOT NULL UNIQUE,
    generation bigint NOT NULL DEFAULT 1 CHECK (generation > 0),
    resource_version bigint NOT NULL DEFAULT nextval('resource_version'),
    labels jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    chain text NOT NULL,
    key_version bigint NOT NULL CHECK (key_version > 0),
    key_id text NOT NULL REFERENCES key_encryption_keys (key_id),
    nonce bytea NOT NULL CHECK (length(nonce) = 12),
    ciphertext bytea NOT NULL,
    status jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(status) = 'object'),
    author text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

-- The columns that status writes do not touch.
CREATE TRIGGER certificates_notify AFTER INSERT OR DELETE OR UPDATE OF chain, generation, ciphertext, labels ON certificates
    FOR EACH STATEMENT EXECUTE FUNCTION notify_topic('certificates');
