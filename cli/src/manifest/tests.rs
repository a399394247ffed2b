//! What people see for the files that they write.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const HEAD: &str = "apiVersion: skyswarm.dev/v1\nkind: App\nmetadata: {name: shop}\n";

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

fn app(spec: &str) -> String {
    format!("{HEAD}spec:\n  image: nginx:1.27\n  processes: {{web: {{port: 80}}}}\n{spec}")
}

fn shown(text: &str) -> String {
    match load(vec![source("app.yaml", text)]) {
        Ok(loaded) => format!("ok: {} documents\n", loaded.documents.len()),
        Err(findings) => anstream::adapter::strip_str(&findings.to_string()).to_string(),
    }
}

#[test]
fn wrong_files_are_shown_with_line_column_and_path() {
    let cases = [
        (
            "several errors",
            format!(
                "{HEAD}spec:\n  image: nginx\n  rolout: {{}}\n  processes:\n    web:\n      prot: 8080\n      replicas: many\n    Web: {{}}\n"
            ),
        ),
        ("a missing field", format!("{HEAD}spec:\n  processes: {{w: {{}}}}\n")),
        ("the right field at the wrong place", format!("{HEAD}spec:\n  image: a\n  processes: {{w: {{}}}}\nport: 1\n")),
        (
            "numbers and words for strings",
            app("  env:\n    A: 8080\n    B: 010\n    C: 1.10\n    D: true\n    E: yes\n    F:\n    G: 0x1F\n"),
        ),
        ("an ambiguous number", format!("{HEAD}spec:\n  image: a\n  processes: {{web: {{port: 0080}}}}\n")),
        ("a duplicate key", app("  env: {A: x}\n  env: {B: y}\n")),
        ("a tab", format!("{HEAD}spec:\n\timage: nginx\n")),
        ("bad indentation", format!("{HEAD}spec:\n  image: a\n   processes: {{}}\n")),
        ("a colon in a value", format!("{HEAD}spec:\n  image: a: b\n")),
        ("an open quote", format!("{HEAD}spec:\n  image: \"a\n")),
        ("a merge key", format!("{HEAD}spec:\n  image: a\n  processes:\n    web: &base {{port: 80}}\n    api:\n      <<: *base\n")),
        ("tags", app("  env: {A: !!binary aGk=, B: !secret x, C: !!str 8080}\n")),
        ("an alias to itself", app("  env: &e {A: *e}\n")),
        ("an unknown alias", app("  env: *nowhere\n")),
        ("a key that is a list", app("  env: {[a]: x}\n")),
        ("infinity", app("  env: {A: .inf}\n")),
        ("not an object", "- a\n".to_owned()),
        ("several documents", format!("{}---\nkind: Pod\n---\n{}", app(""), app("  domains: [a]\n"))),
        ("the same object twice", format!("{}---\n{}", app(""), app(""))),
        (
            "a list of the API",
            "items:\n- kind: Setting\n  apiVersion: skyswarm.dev/v1\n  metadata: {name: a.b}\n  spec: {valu: 1}\n".to_owned(),
        ),
        ("rules between fields", app("  env: {PORT: \"1\"}\n  rollout: {progressDeadline: 1s}\n")),
    ];
    let mut all = String::new();
    for (what, text) in cases {
        let _ = writeln!(all, "## {what}\n{}", shown(&text));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn files_as_people_write_them_are_read() {
    let full = app("  env: &env {A: \"1\", B: yes, C: 'x: y'}\n  secrets: {K: hunter2, KEPT: null}\n");
    for text in [
        full.clone(),
        format!("\u{feff}{full}"),
        full.replace('\n', "\r\n"),
        format!("---\n{full}...\n---\n# nothing\n---\n{}", full.replace("shop", "blog")),
        format!("%YAML 1.2\n---\n{full}"),
        app("  env:\n    A: &a text\n    B: *a\n    C: |\n      two\n      lines\n"),
        "{\"apiVersion\": \"skyswarm.dev/v1\",\n\t\"kind\": \"Domain\",\n\t\"metadata\": {\"name\": \"a.example\"}, \"spec\": {\"app\": \"shop\"}}".to_owned(),
    ] {
        assert!(shown(&text).starts_with("ok"), "{text}\n{}", shown(&text));
    }
    assert_eq!(shown(""), "ok: 0 documents\n");
}

#[test]
fn a_context_gives_the_organization_where_none_is_written() {
    let text = format!("{}---\n{}---\n{HEAD}", app(""), app("").replace("name: shop", "name: b, org: other"));
    let text =
        text.replace(&format!("---\n{HEAD}"), "---\napiVersion: skyswarm.dev/v1\nkind: Organization\nmetadata: {name: acme}\nspec: {}\n");
    let mut loaded = load(vec![source("a", &text)]).expect("valid");
    loaded.fill_org(&"acme".parse().expect("a name"));
    let orgs: Vec<_> = loaded.documents.iter().map(|document| document.org()).collect();
    assert_eq!(orgs, [Some("acme"), Some("other"), None]);
}

#[test]
fn errors_of_the_server_find_their_place() {
    let text = format!("{}---\n{}", app(""), app("  domains: [a.example]\n").replace("shop", "blog"));
    let loaded = load(vec![source("app.yaml", &text)]).expect("valid");
    let errors = vec![
        FieldError::new("items[1].spec.domains[0]", "a.example is taken"),
        FieldError::new("items[0].spec.secrets.NEW", "there is no stored value to keep"),
        FieldError::new("items[9].spec", "what?"),
    ];
    let text = loaded.locate(errors, None).to_string();
    insta::assert_snapshot!(anstream::adapter::strip_str(&text).to_string());
}

#[test]
fn secrets_are_not_shown() {
    for text in [
        app("  secrets: {KEY: hunter2, N: 471100}\n  nonsense: 1\n"),
        app("  secrets: {KEY: hunter2, bad-key: hunter2}\n"),
        app("  secrets:\n    KEY: hunter2\n    KEY: hunter2\n"),
        app("  secrets: {A: b}\n  secrets: {KEY: hunter2}\n"),
        app("  secrets:\n    KEY: hunter2: x\n"),
        app("  secrets:\n    KEY: \"hunter2\n"),
        app("  secrets: {KEY: hunter2, [: }\n"),
        app("  secrets:\n    KEY: [hunter2]\n"),
        app("  secrets:\n    KEY: !x hunter2\n"),
        app("  secrets: hunter2\n"),
        format!("items:\n- {HEAD}  spec: {{secrets: {{N: 471100, M: {{hunter2: hunter2}}}}}}\n"),
    ] {
        let text = shown(&text).replace("spec.secrets.N.hunter2", "");
        assert!(!text.contains("471100") && !text.contains("hunter2") && !text.starts_with("ok"), "{text}");
    }
}

#[test]
fn files_cannot_use_up_the_machine() {
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(shown(&deep).contains("nested deeper") || shown(&deep).contains("recursion limit"), "{}", shown(&deep));
    let deep: String = (0..500).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert!(shown(&deep).contains("nested deeper"));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..9 {
        let _ = writeln!(bomb, "a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 9].join(", "));
    }
    assert!(shown(&bomb).contains("aliases make this document too large"));
    let many: String = (0..210_000).map(|_| "- x\n").collect();
    assert!(shown(&many).contains("more than 200000 values"));
}

#[test]
fn directories_give_their_manifests_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["b.yml", "a.yaml", "c.json", "readme.md"] {
        std::fs::write(folder.path().join(name), "x").expect("writes");
    }
    let found = collect(&[folder.path().to_owned()]).expect("reads");
    let names: Vec<_> = found.iter().map(|source| source.name.rsplit('/').next().unwrap_or_default()).collect();
    assert_eq!(names, ["a.yaml", "b.yml", "c.json"]);
    let empty = tempfile::tempdir().expect("a folder");
    assert!(collect(&[empty.path().to_owned()]).expect_err("empty").to_string().contains("no .yaml"));
    std::fs::write(empty.path().join("x.yaml"), [0xff, 0xfe]).expect("writes");
    assert!(collect(&[empty.path().join("x.yaml")]).expect_err("binary").to_string().contains("not UTF-8"));
    assert!(collect(&["/nonexistent.yaml".into()]).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~äé\n\t]{0,20}".prop_map(Value::from),
        prop::sample::select(vec!["yes", "010", "null", "~", "1.10", "0x1F", ".inf", "- a", "a: b", "#", "*a", "&a", "!t", "<<"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[ -;=-~]{0,8}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_the_reader_fall_over(text in "[a-c:\\-\\[\\]{},&*!|>'\"%@`# \n\t0-9~?]{0,80}") {
        let _ = shown(&text);
    }

    #[test]
    fn json_and_our_own_yaml_read_back_as_they_were(value in any_json()) {
        let wrapped = json!({"v": value});
        for text in [serde_json::to_string_pretty(&wrapped).expect("json"), crate::output::yaml(&wrapped).expect("yaml")] {
            let read = yaml::read(&text);
            prop_assert!(read.errors.is_empty(), "{text}\n{:?}", read.errors);
            prop_assert_eq!(&read.documents[0].0, &wrapped, "{}", text);
        }
    }
}
