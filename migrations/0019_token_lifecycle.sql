-- Tokens end: by time, or by being revoked. A revoked one keeps its row for a while, so that who still
-- presents it is told why it does not work; the row tells nothing to anybody else.
ALTER TABLE tokens
    ADD COLUMN created_by text,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN revoked_at timestamptz;

-- The order in which lists show them.
CREATE INDEX tokens_listed ON tokens (name, id) WHERE revoked_at IS NULL;
