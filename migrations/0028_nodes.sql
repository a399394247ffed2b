-- What people want of a node. Rows of nodes are what the engine said; this is what was asked for, and it stays until
-- something else is asked for. A node that left the Swarm has no row here for longer than the next look at it.
CREATE TABLE node_wishes (
    node_id text COLLATE "C" PRIMARY KEY,
    availability text NOT NULL CHECK (availability IN ('active', 'drain')),
    author text NOT NULL,
    asked_at timestamptz NOT NULL
);
CREATE TRIGGER node_wishes_notify AFTER INSERT OR UPDATE OR DELETE ON node_wishes
    FOR EACH STATEMENT EXECUTE FUNCTION notify_topic('nodes');
