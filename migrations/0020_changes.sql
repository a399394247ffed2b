-- What changed, for watches of the API.
--
-- A sequence is no cursor: numbers are handed out before commit, so a reader who is past 7 may never see
-- the 5 that commits later. The transaction's id with the snapshot's xmin is one: what has an id below
-- xmin is committed (or never will be) for every later reader, so who read everything that is visible may go on
-- from xmin, and sees a row twice at worst.
CREATE FUNCTION stamp_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id()::text::bigint;
    IF TG_OP = 'INSERT' THEN
        NEW.created_xid := NEW.changed_xid;
    END IF;
    RETURN NEW;
END $$;

ALTER TABLE apps ADD COLUMN created_xid bigint NOT NULL DEFAULT 0, ADD COLUMN changed_xid bigint NOT NULL DEFAULT 0;
ALTER TABLE domains ADD COLUMN created_xid bigint NOT NULL DEFAULT 0, ADD COLUMN changed_xid bigint NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN created_xid bigint NOT NULL DEFAULT 0, ADD COLUMN changed_xid bigint NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN created_xid bigint NOT NULL DEFAULT 0, ADD COLUMN changed_xid bigint NOT NULL DEFAULT 0;

-- What clients see changes with the resource version; a version that only the controller reads does not count.
CREATE TRIGGER apps_stamp BEFORE INSERT OR UPDATE OF resource_version ON apps FOR EACH ROW EXECUTE FUNCTION stamp_change();
CREATE TRIGGER domains_stamp BEFORE INSERT OR UPDATE OF resource_version ON domains FOR EACH ROW EXECUTE FUNCTION stamp_change();
CREATE TRIGGER nodes_stamp BEFORE INSERT OR UPDATE OF node ON nodes FOR EACH ROW EXECUTE FUNCTION stamp_change();
CREATE TRIGGER events_stamp BEFORE INSERT OR UPDATE OF count, last_seen ON events FOR EACH ROW EXECUTE FUNCTION stamp_change();

-- One index serves who looks for changes of all organisations, and who reads those of one.
CREATE INDEX apps_changed ON apps (changed_xid, org, name);
CREATE INDEX domains_changed ON domains (changed_xid, org, host);
CREATE INDEX events_changed ON events (changed_xid, org, id);

-- What is gone, for as long as a watch may resume. No foreign key: the organisation may be gone too.
CREATE TABLE tombstones (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('App', 'Domain', 'Node')),
    -- Empty for objects of the platform.
    org text COLLATE "C" NOT NULL,
    name text NOT NULL,
    uid text NOT NULL,
    labels jsonb NOT NULL,
    resource_version bigint NOT NULL DEFAULT nextval('resource_version'),
    changed_xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    deleted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tombstones_changed ON tombstones (changed_xid, org, kind);
CREATE INDEX tombstones_old ON tombstones (deleted_at);

-- Watches cannot resume from before this: tombstones that they would have to be told of are forgotten.
CREATE TABLE watch_horizon (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    xid bigint NOT NULL
);
INSERT INTO watch_horizon (xid) VALUES (0);

-- The arguments: kind, and the path of the name, of the identity and of the labels in the row.
CREATE FUNCTION bury() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    gone jsonb := to_jsonb(OLD);
BEGIN
    INSERT INTO tombstones (kind, org, name, uid, labels) VALUES (
        TG_ARGV[0], COALESCE(gone ->> 'org', ''), gone #>> TG_ARGV[1]::text[], gone #>> TG_ARGV[2]::text[],
        COALESCE(gone #> TG_ARGV[3]::text[], '{}')
    );
    RETURN NULL;
END $$;
CREATE TRIGGER apps_bury AFTER DELETE ON apps FOR EACH ROW EXECUTE FUNCTION bury('App', '{name}', '{uid}', '{labels}');
CREATE TRIGGER domains_bury AFTER DELETE ON domains FOR EACH ROW EXECUTE FUNCTION bury('Domain', '{host}', '{uid}', '{labels}');
CREATE TRIGGER nodes_bury AFTER DELETE ON nodes FOR EACH ROW
    EXECUTE FUNCTION bury('Node', '{node,metadata,name}', '{id}', '{node,metadata,labels}');

-- A later organisation of the same name must learn nothing of the earlier one.
CREATE FUNCTION forget_tombstones() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM tombstones WHERE org = OLD.name;
    RETURN NULL;
END $$;
CREATE TRIGGER organizations_forget AFTER DELETE ON organizations FOR EACH ROW EXECUTE FUNCTION forget_tombstones();
