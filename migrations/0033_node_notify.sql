-- The controller clears the wishes of nodes that are gone each time it writes what the engine said. A trigger for each
-- statement fires for a DELETE of no row too, so that writing led to the next look, several times a second.
DROP TRIGGER node_wishes_notify ON node_wishes;
CREATE TRIGGER node_wishes_notify AFTER INSERT OR UPDATE ON node_wishes
    FOR EACH STATEMENT EXECUTE FUNCTION notify_topic('nodes');
