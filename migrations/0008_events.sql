-- Events for people. They drive nothing, so they have no foreign key to their object: the last
-- events of a deleted app are worth reading. They go with their organisation.
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org text COLLATE "C" REFERENCES organizations (name) ON DELETE CASCADE,
    kind text NOT NULL,
    name text NOT NULL,
    uid uuid,
    event_type text NOT NULL CHECK (event_type IN ('Normal', 'Warning')),
    reason text NOT NULL,
    message text NOT NULL,
    generation bigint NOT NULL DEFAULT 0,
    count integer NOT NULL DEFAULT 1 CHECK (count > 0),
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL
);

-- The same event again counts up instead of adding a row. A hash, because a message may be longer
-- than an index entry.
CREATE UNIQUE INDEX events_same ON events (
    kind, name, (COALESCE(org, '')), (COALESCE(uid, '00000000-0000-0000-0000-000000000000'::uuid)), generation, event_type, reason, (md5(message))
);
CREATE INDEX events_recent ON events (last_seen, id);
CREATE INDEX events_org ON events (org, last_seen, id);
