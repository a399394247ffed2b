-- Hints that desired state changed. NOTIFY takes one lock over all commits of the cluster, so only
-- desired state notifies, once per statement, with a short constant; never status, events or leases.
-- A lost hint costs latency only: listeners list everything again on each (re)connect and on a timer.
CREATE FUNCTION notify_topic() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('skyswarm', TG_ARGV[0]);
    RETURN NULL;
END $$;

CREATE TRIGGER organizations_notify AFTER INSERT OR UPDATE OR DELETE ON organizations
    FOR EACH STATEMENT EXECUTE FUNCTION notify_topic('organizations');
-- The columns that status writes do not touch.
CREATE TRIGGER apps_notify AFTER INSERT OR DELETE OR UPDATE OF spec, generation, deletion_timestamp, desired_version ON apps
    FOR EACH STATEMENT EXECUTE FUNCTION notify_topic('apps');
CREATE TRIGGER domains_notify AFTER INSERT OR UPDATE OR DELETE ON domains
    FOR EACH STATEMENT EXECUTE FUNCTION notify_topic('domains');
CREATE TRIGGER routes_notify AFTER INSERT OR UPDATE OR DELETE ON routes
    FOR EACH STATEMENT EXECUTE FUNCTION notify_topic('routes');
CREATE TRIGGER settings_notify AFTER INSERT OR UPDATE OR DELETE ON settings
    FOR EACH STATEMENT EXECUTE FUNCTION notify_topic('settings');
