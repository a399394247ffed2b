-- What controllers find out and decide. All of it can be made again from the world, except the
-- lease's epoch, which only ever grows: a write that carries an older one is refused.
CREATE TABLE leases (
    name text PRIMARY KEY,
    holder text NOT NULL,
    epoch bigint NOT NULL CHECK (epoch > 0),
    -- By this database's clock: the only one that all holders share.
    expires_at timestamptz NOT NULL
);

CREATE TABLE observations (
    app_uid uuid PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    observed jsonb NOT NULL,
    observed_at timestamptz NOT NULL,
    FOREIGN KEY (org, app_uid) REFERENCES apps (org, uid) ON DELETE CASCADE
);

CREATE TABLE routes (
    app_uid uuid PRIMARY KEY,
    org text COLLATE "C" NOT NULL,
    route jsonb NOT NULL CHECK (jsonb_typeof(route) = 'object'),
    resource_version bigint NOT NULL DEFAULT nextval('resource_version'),
    FOREIGN KEY (org, app_uid) REFERENCES apps (org, uid) ON DELETE CASCADE
);

CREATE TABLE nodes (
    id text PRIMARY KEY,
    node jsonb NOT NULL CHECK (jsonb_typeof(node) = 'object')
);
