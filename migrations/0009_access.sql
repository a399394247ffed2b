-- Tokens: only a SHA-256 is stored. That is enough because a token has 256 random bits; a slow
-- password hash would add nothing but load.
CREATE TABLE tokens (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    org text COLLATE "C" REFERENCES organizations (name) ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('viewer', 'member', 'admin')),
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at timestamptz NOT NULL
);
CREATE INDEX tokens_org ON tokens (org);
