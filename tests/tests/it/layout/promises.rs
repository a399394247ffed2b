//! Every test that `docs/promises.md` names is there.

use super::repository;

/// The file that the page means by a path.
fn file_of(path: &str) -> String {
    match path.split_once('/') {
        Some(("it", rest)) => format!("tests/tests/it/{rest}.rs"),
        Some(("sim", rest)) => format!("controller/tests/sim/{rest}.rs"),
        _ => format!("controller/src/{path}.rs"),
    }
}

#[test]
fn every_promise_has_a_test_that_exists() {
    let page = std::fs::read_to_string(repository().join("docs/promises.md")).expect("the page");
    let mut named = 0;
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---") && !line.starts_with("| promise")) {
        let tests: Vec<(&str, &str)> = row.split('`').filter_map(|word| word.split_once("::")).collect();
        assert!(!tests.is_empty(), "no test stands behind: {row}");
        for (path, name) in tests {
            let file = repository().join(file_of(path));
            let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert!(text.contains(&format!("fn {name}(")), "{} has no test {name}", file.display());
            named += 1;
        }
    }
    assert!(named > 30, "only {named} tests are named");
}
