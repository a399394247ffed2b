//! What becomes of Compose files as people have them.

use std::fmt::Write as _;

use super::*;

fn lookup(name: &str) -> Option<String> {
    match name {
        "TAG" => Some("2.1".to_owned()),
        "FROM_SHELL" => Some("shell".to_owned()),
        _ => None,
    }
}

fn file(name: &str) -> Result<String, String> {
    match name {
        "web.env" => Ok("A=from file\nB=from file\nFROM_SHELL\n".to_owned()),
        "broken.env" => Ok("A=1\nwhat is this\n".to_owned()),
        _ => Err("No such file or directory".to_owned()),
    }
}

fn imported(text: &str, only: &[&str]) -> String {
    let source = Source { name: "compose.yaml".to_owned(), text: text.to_owned() };
    let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
    let options = Options { name: None, fallback: "shop", only: &only, variable: &lookup, file: &file };
    match import(source, &options) {
        Ok(imported) => {
            for draft in &imported.drafts {
                if let Err(errors) = check::check(&draft.manifest) {
                    return format!("not a valid manifest: {errors:?}\n{:#}", draft.manifest);
                }
            }
            crate::cmd::import::text(&imported.drafts, &imported.notes, "compose.yaml").expect("text")
        }
        Err(findings) => anstream::adapter::strip_str(&findings.to_string()).to_string(),
    }
}

fn all(cases: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (what, text) in cases {
        let _ = writeln!(out, "## {what}\n{}", imported(text, &[]));
    }
    out
}

#[test]
fn a_file_becomes_manifests_with_comments() {
    let full = r#"
version: "3.8"
name: bookshop
x-common: &common
  image: registry.example/shop:${TAG}
  environment: &env {LOG_LEVEL: debug, RATIO: 1.10, FLAG: yes}
services:
  web:
    <<: *common
    entrypoint: ["bin/serve"]
    command: --port 8080 "two words"
    environment:
      <<: *env
      PORT: 8080
      DB_PASSWORD: hunter2
      PRICE: $$5
    env_file: [web.env, {path: none.env, required: false}]
    ports: ["80:8080", "9000:9000", "53:53/udp"]
    stop_grace_period: 1m30s
    healthcheck: {test: "curl -f http://localhost:8080/up || exit 1", interval: 10s, timeout: 3s, retries: 5}
    deploy:
      replicas: 3
      endpoint_mode: dnsrr
      resources: {limits: {cpus: "0.50", memory: 256M, pids: 10}, reservations: {memory: 64M}}
      update_config: {order: stop-first, parallelism: 2}
      restart_policy: {condition: on-failure}
      placement: {constraints: [node.role == manager]}
      labels:
        - traefik.enable=true
        - traefik.http.routers.shop.rule=Host(`shop.example.com`) && PathPrefix(`/a`)
    depends_on: {worker: {condition: service_started}, redis: {condition: service_healthy}}
    secrets: [db_password, {source: s, target: key.pem}]
    volumes: ["data:/data"]
    cap_add: [NET_ADMIN]
    networks: {default: {aliases: [www]}}
  worker:
    <<: *common
    command: [bin/worker]
    deploy: {update_config: {order: stop-first, parallelism: 2}}
  Redis_Cache:
    image: redis:7
    scale: 1
    expose: [6379]
    restart: "no"
    links: [nowhere]
volumes: {data: {}}
secrets: {db_password: {file: ./x}}
"#;
    insta::assert_snapshot!(imported(full, &[]));
}

#[test]
fn what_is_wrong_is_shown_with_line_and_column() {
    let text = all(&[
        ("not YAML", "services:\n  web:\n    image: \"nginx\n"),
        ("a tab", "services:\n\tweb: {}\n"),
        ("empty", ""),
        ("not a map", "- a\n"),
        ("no services", "version: '3'\n"),
        ("two documents", "services: {a: {image: a}}\n---\nservices: {}\n"),
        ("misspelt fields", "services:\n  web:\n    image: nginx\n    enviroment: {A: b}\n    deploy: {replica: 2}\nservice: {}\n"),
        ("extends and profiles", "services:\n  web: {extends: {service: base}, image: a}\n  debug:\n    image: b\n    profiles: [debug]\n"),
        ("built only", "services:\n  web:\n    build: .\n"),
        ("no image", "services:\n  web: {}\n"),
        ("a bad image", "services:\n  web: {image: 'a b'}\n"),
        (
            "bad values",
            "services:\n  web:\n    image: a\n    ports: [x]\n    mem_limit: lots\n    cpus: 0.3333\n    scale: many\n    stop_grace_period: soon\n    command: \"a 'b\"\n",
        ),
        ("a job", "services:\n  web: {image: a, deploy: {mode: replicated-job}}\n"),
        ("a required variable", "services:\n  web: {image: \"a:${VERSION:?set the version}\"}\n"),
        ("an env file that is not there", "services:\n  web:\n    image: a\n    env_file: none.env\n"),
        ("a broken env file", "services:\n  web:\n    image: a\n    env_file: broken.env\n"),
        ("include", "include: [other.yaml]\nservices: {a: {image: a}}\n"),
        ("a merge of text", "services:\n  web:\n    <<: text\n    image: a\n"),
    ]);
    insta::assert_snapshot!(text);
}

#[test]
fn single_services_can_be_picked() {
    let text = "services:\n  web: {image: 'a:1', ports: ['80']}\n  debug: {image: 'b:1', profiles: [x]}\n";
    assert!(imported(text, &["web"]).contains("name: shop\n"), "{}", imported(text, &["web"]));
    let wrong = imported(text, &["wep"]);
    assert!(wrong.contains("there is no service \"wep\"; did you mean \"web\"?"), "{wrong}");
}

#[test]
fn a_service_that_is_not_there_is_missed_as_a_variable_is() {
    let text = imported("services:\n  web: {image: 'a:1', depends_on: [db], environment: {A: \"$NOPE\"}}\n", &[]);
    assert!(text.contains("# services.web: it needs db, which is another app here (or none)"), "{text}");
    assert!(text.contains("# variables: not set, so they are empty here: NOPE"), "{text}");
}

#[test]
fn the_example_is_imported() {
    let text = include_str!("../../../examples/compose/compose.yml");
    let shown = imported(text, &[]);
    assert!(shown.contains("name: guestbook\n") && shown.contains("image: skyswarm/sample-app:2.1\n"), "{shown}");
    assert!(shown.contains("guestbook.example.com") && shown.contains("cpu: 250m"), "{shown}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_the_import_fall_over(tail in "[a-z:\\-\\[\\]{},&*!|>'\"%@`# \n0-9~?${}]{0,80}") {
        let _ = imported(&format!("services:\n  web:\n    image: a\n    {tail}"), &[]);
    }
}
