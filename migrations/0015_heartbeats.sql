-- One row for each process of the server, written by itself every few seconds: who runs, what it sees,
-- what waits. Nothing is decided from it; people and the API read it. It never notifies.
CREATE TABLE heartbeats (
    id text COLLATE "C" PRIMARY KEY,
    started_at timestamptz NOT NULL,
    -- By this database's clock, so that nobody compares the clocks of two machines.
    heartbeat_at timestamptz NOT NULL,
    report jsonb NOT NULL CHECK (jsonb_typeof(report) = 'object')
) WITH (fillfactor = 50);

-- "What failed within the last hour" without reading all history.
CREATE INDEX revisions_failed ON revisions (app_uid, generation) WHERE verdict ->> 'phase' = 'Failed';
