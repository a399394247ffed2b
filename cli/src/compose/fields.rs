//! Compose's fields that have no place in a manifest, and what to say about each.

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It means nothing here, or what it means holds anyway.
    Silent,
    /// It is lost; the text says why, or what to do.
    Lost(&'static str),
    /// The result would be wrong without it.
    Refused(&'static str),
}

use Fate::{Lost, Refused, Silent};

const HOST: &str = "an app cannot use parts of the host";
const PRIVILEGE: &str = "an app runs without further privileges";
const NETWORK: &str = "each app has a network of its own, and the platform chooses addresses and names";
const IMAGE: &str = "put it into the image";

/// Fields of a service that are not translated. Those that are stand in `service.rs`.
pub(super) const SERVICE: &[(&str, Fate)] = &[
    ("extends", Refused("\"extends\" is not supported; print the whole file with `docker compose config` and import that")),
    ("profiles", Refused("\"profiles\" are not supported; remove the field, or name the services to import with --service")),
    ("annotations", Lost("containers carry the platform's labels only")),
    ("attach", Silent),
    ("blkio_config", Lost(HOST)),
    ("cap_add", Lost(PRIVILEGE)),
    ("cap_drop", Lost("every app runs with the engine's default capabilities")),
    ("cgroup", Lost(HOST)),
    ("cgroup_parent", Lost(HOST)),
    ("configs", Lost("there are no configuration files; use variables, or put the file into the image")),
    ("container_name", Lost("names of containers are the platform's")),
    ("cpu_count", Lost("use deploy.resources.limits.cpus")),
    ("cpu_percent", Lost("use deploy.resources.limits.cpus")),
    ("cpu_period", Lost("use deploy.resources.limits.cpus")),
    ("cpu_quota", Lost("use deploy.resources.limits.cpus")),
    ("cpu_rt_period", Lost(HOST)),
    ("cpu_rt_runtime", Lost(HOST)),
    ("cpu_shares", Lost("use deploy.resources.limits.cpus")),
    ("cpuset", Lost(HOST)),
    ("credential_spec", Lost(HOST)),
    ("device_cgroup_rules", Lost(HOST)),
    ("devices", Lost(HOST)),
    ("dns", Lost(NETWORK)),
    ("dns_opt", Lost(NETWORK)),
    ("dns_search", Lost(NETWORK)),
    ("domainname", Lost(NETWORK)),
    ("external_links", Lost(NETWORK)),
    ("extra_hosts", Lost(NETWORK)),
    ("gpus", Lost(HOST)),
    ("group_add", Lost(IMAGE)),
    ("hostname", Lost(NETWORK)),
    ("init", Silent),
    ("ipc", Lost(HOST)),
    ("isolation", Silent),
    ("label_file", Lost("labels of containers are the platform's")),
    ("logging", Lost("logs are read by the platform: skyctl logs")),
    ("mac_address", Lost(NETWORK)),
    ("mem_reservation", Lost("what is limited is reserved as well")),
    ("mem_swappiness", Lost(HOST)),
    ("memswap_limit", Lost(HOST)),
    ("network_mode", Lost(NETWORK)),
    ("networks", Silent),
    ("oom_kill_disable", Lost(HOST)),
    ("oom_score_adj", Lost(HOST)),
    ("pid", Lost(HOST)),
    ("pids_limit", Lost("the platform limits a task to 1024 processes")),
    ("platform", Lost("the image decides")),
    ("privileged", Lost(PRIVILEGE)),
    ("pull_policy", Lost("set imagePullPolicy if the default does not suit")),
    ("read_only", Lost("the root file system is writable")),
    ("runtime", Lost(HOST)),
    ("security_opt", Lost(PRIVILEGE)),
    ("shm_size", Lost(HOST)),
    ("stdin_open", Silent),
    ("stop_signal", Lost("a process gets SIGTERM, and SIGKILL after its stopGracePeriod")),
    ("storage_opt", Lost(HOST)),
    ("sysctls", Lost(HOST)),
    ("tmpfs", Lost("a task can write to its own file system, which goes with it")),
    ("tty", Silent),
    ("ulimits", Lost(HOST)),
    ("user", Lost("the image decides: USER in its Dockerfile")),
    ("userns_mode", Lost(HOST)),
    ("uts", Lost(HOST)),
    ("volumes", Lost("an app keeps no files: what it writes is gone with its task. Keep data in a database or an object store")),
    ("volumes_from", Lost("an app keeps no files")),
    ("working_dir", Lost("the image decides: WORKDIR in its Dockerfile")),
];

/// Fields of `deploy` that are not translated.
pub(super) const DEPLOY: &[(&str, Fate)] =
    &[("endpoint_mode", Silent), ("placement", Lost("the platform chooses nodes")), ("rollback_config", Silent)];

/// What becomes of a field; `None` when it is none of Compose's.
pub(super) fn fate(table: &[(&str, Fate)], key: &str) -> Option<Fate> {
    if key.starts_with("x-") {
        return Some(Silent);
    }
    table.iter().find(|(name, _)| *name == key).map(|(_, fate)| *fate)
}
