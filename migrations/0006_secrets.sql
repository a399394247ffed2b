-- Secrets at rest: a key-encryption key in a file wraps one data key per organisation, which
-- encrypts values. Deleting an organisation deletes its data keys, and with them every copy of its
-- secrets in any backup of this database becomes unreadable.

-- Fingerprints of the key-encryption keys that were ever used here. A start with another key, or
-- with a lost key file, is refused instead of silently making secrets that nobody can read together.
CREATE TABLE key_encryption_keys (
    key_id text PRIMARY KEY,
    created_at timestamptz NOT NULL
);

CREATE TABLE data_keys (
    org text COLLATE "C" NOT NULL REFERENCES organizations (name) ON DELETE CASCADE,
    version integer NOT NULL CHECK (version > 0),
    key_id text NOT NULL REFERENCES key_encryption_keys (key_id),
    nonce bytea NOT NULL CHECK (length(nonce) = 12),
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (org, version)
);

-- Values by version; versions count per app and are never given out twice.
CREATE TABLE app_secrets (
    app_uid uuid NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    org text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    data_key integer NOT NULL,
    nonce bytea NOT NULL CHECK (length(nonce) = 12),
    ciphertext bytea NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (app_uid, version),
    FOREIGN KEY (org, app_uid) REFERENCES apps (org, uid) ON DELETE CASCADE,
    FOREIGN KEY (org, data_key) REFERENCES data_keys (org, version)
);

-- The platform's own secrets, encrypted with the key-encryption key itself.
CREATE TABLE platform_secrets (
    name text PRIMARY KEY,
    key_id text NOT NULL REFERENCES key_encryption_keys (key_id),
    nonce bytea NOT NULL CHECK (length(nonce) = 12),
    ciphertext bytea NOT NULL,
    created_at timestamptz NOT NULL
);
