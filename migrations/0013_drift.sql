-- The drift ledger: what was changed of an app behind the platform's back. A change that lasts is one row.
CREATE TABLE drift (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    app text COLLATE "C" NOT NULL,
    app_uid uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('service', 'network', 'secret', 'task', 'route')),
    object text NOT NULL,
    field text NOT NULL,
    desired text NOT NULL,
    observed text NOT NULL,
    action text NOT NULL CHECK (action IN ('Correcting', 'Corrected', 'Undone', 'Held', 'Paused', 'Recorded')),
    first_seen timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    ended_at timestamptz,
    controller text NOT NULL,
    FOREIGN KEY (org, app_uid) REFERENCES apps (org, uid) ON DELETE CASCADE
);

CREATE UNIQUE INDEX drift_open ON drift (app_uid, object, field) WHERE ended_at IS NULL;
CREATE INDEX drift_app ON drift (app_uid, id);
CREATE INDEX drift_org ON drift (org, id);
CREATE INDEX drift_recent ON drift (first_seen);
