-- The platform's own certificate authority for its nodes: one row. The key is encrypted with the platform's key file.
CREATE TABLE node_authority (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    certificate text NOT NULL,
    key_id text NOT NULL,
    nonce bytea NOT NULL,
    ciphertext bytea NOT NULL,
    -- Where agents reach the server that takes them.
    gateway text
);

-- Tokens that nodes join with for a while: hashes only.
CREATE TABLE join_tokens (
    digest bytea PRIMARY KEY,
    author text NOT NULL,
    expires_at timestamptz NOT NULL
);

-- The newest certificate of each node's agent, by its hash. Older ones are no longer taken.
CREATE TABLE agents (
    node_id text COLLATE "C" PRIMARY KEY,
    fingerprint text NOT NULL,
    issued_at timestamptz NOT NULL
);
