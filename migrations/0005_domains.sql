-- Custom hosts. A host goes to one app over all tenants: that is the primary key, not a check.
-- `inline` rows come from an app's manifest and live and die with it; the others are objects.
CREATE TABLE domains (
    host text COLLATE "C" PRIMARY KEY CHECK (length(host) <= 253 AND host ~ '^[a-z0-9.-]+$'),
    uid uuid NOT NULL UNIQUE,
    org text COLLATE "C" NOT NULL,
    app_uid uuid NOT NULL,
    inline boolean NOT NULL,
    generation bigint NOT NULL DEFAULT 1,
    resource_version bigint NOT NULL DEFAULT nextval('resource_version'),
    labels jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
    created_at timestamptz NOT NULL,
    -- The pair, not the uid alone: a domain can never point into another organisation.
    FOREIGN KEY (org, app_uid) REFERENCES apps (org, uid) ON DELETE CASCADE
);
CREATE INDEX domains_app ON domains (app_uid);
CREATE INDEX domains_org ON domains (org, host);
