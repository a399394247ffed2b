//! On the real server. As root these run it as `postgres`, else as the user who runs the tests.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use sqlx::{Connection, PgConnection};

use super::*;

/// A folder that the database's user may enter.
fn data_dir() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).expect("permissions");
    folder
}

async fn connect(url: &str) -> PgConnection {
    for _ in 0..250 {
        if let Ok(connection) = PgConnection::connect(url).await {
            return connection;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no connection to {url} within 5 s");
}

fn postmaster(data_dir: &Path) -> i32 {
    leftover::recorded_pid(&data_dir.join("postgres")).expect("a pid file")
}

fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn data_survive_a_clean_stop_a_crash_and_a_leftover_server() {
    let folder = data_dir();
    let first = PrivatePostgres::start(folder.path()).await.expect("starts");
    let mut connection = connect(first.url()).await;
    sqlx::query("create table kept (n int)").execute(&mut connection).await.expect("created");
    sqlx::query("insert into kept values (1)").execute(&mut connection).await.expect("written");

    // A clean stop with a client connected.
    let pid = postmaster(folder.path());
    first.stop().await;
    assert!(!is_alive(pid), "the server is gone");
    assert!(!folder.path().join("postgres/postmaster.pid").exists(), "it ended cleanly");

    // Killed: it is started again, at the same address.
    let second = PrivatePostgres::start(folder.path()).await.expect("starts again");
    let killed = postmaster(folder.path());
    leftover::send(killed, Signal::KILL);
    while is_alive(killed) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut connection = connect(second.url()).await;
    sqlx::query("insert into kept values (2)").execute(&mut connection).await.expect("written");
    let orphan = postmaster(folder.path());
    assert_ne!(orphan, killed);

    // We go without stopping it, as after kill -9: the next start replaces it.
    second.keeper.abort();
    assert!(is_alive(orphan), "nobody stopped it");
    let third = PrivatePostgres::start(folder.path()).await.expect("starts over a leftover");
    assert!(!is_alive(orphan) && postmaster(folder.path()) != orphan);
    let mut connection = connect(third.url()).await;
    let sum: i64 = sqlx::query_scalar("select sum(n) from kept").fetch_one(&mut connection).await.expect("read");
    assert_eq!(sum, 3);
    third.stop().await;
}

#[tokio::test]
async fn a_pid_file_of_somebody_else_does_not_stop_the_start() {
    let folder = data_dir();
    PrivatePostgres::start(folder.path()).await.expect("starts").stop().await;
    // Our own number: alive, and no database.
    let pid_file = folder.path().join("postgres/postmaster.pid");
    std::fs::write(&pid_file, format!("{}\n{}\n", std::process::id(), folder.path().display())).expect("written");
    PrivatePostgres::start(folder.path()).await.expect("starts in spite of it").stop().await;
}

#[tokio::test]
async fn a_cluster_of_another_version_is_left_alone() {
    let folder = data_dir();
    let cluster = folder.path().join("postgres");
    std::fs::create_dir(&cluster).expect("a folder");
    std::fs::write(cluster.join("PG_VERSION"), "9\n").expect("written");
    let error = PrivatePostgres::start(folder.path()).await.expect_err("no server of version 9");
    assert!(error.to_string().contains("made by PostgreSQL 9"), "{error}");
    assert_eq!(std::fs::read_dir(&cluster).expect("there").count(), 1, "nothing was added");
}

#[tokio::test]
async fn nobody_else_may_reach_the_socket_and_no_port_is_open() {
    let folder = data_dir();
    let server = PrivatePostgres::start(folder.path()).await.expect("starts");
    let mode = |name: &str| std::fs::metadata(folder.path().join(name)).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode("postgres"), mode("postgres-socket")), (0o700, 0o700));
    let mut connection = connect(server.url()).await;
    let listen: String = sqlx::query_scalar("show listen_addresses").fetch_one(&mut connection).await.expect("read");
    assert_eq!(listen, "");
    server.stop().await;
}

#[tokio::test]
async fn an_unfinished_cluster_is_made_again() {
    let folder = data_dir();
    let place = Place::below(folder.path(), Account::for_server().expect("a user"));
    place.prepare().expect("made");
    place.make(&place.half_cluster()).expect("made");
    std::fs::write(place.half_cluster().join("PG_VERSION"), "15").expect("written");
    PrivatePostgres::start(folder.path()).await.expect("starts").stop().await;
}
