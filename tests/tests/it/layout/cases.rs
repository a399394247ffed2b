//! Every case of `skyctl why` has its section in `docs/troubleshooting.md`, and nothing else has one there.

use std::collections::BTreeSet;

use api_types::why::{Case, PAGE};

use super::repository;

#[test]
fn every_case_of_why_has_a_section_of_its_own() {
    let page = std::fs::read_to_string(repository().join(PAGE)).expect("the page");
    let sections: Vec<(&str, &str)> =
        page.split("\n### ").skip(1).map(|section| section.split_once('\n').expect("a heading and a text")).collect();
    let headings: BTreeSet<&str> = sections.iter().map(|(heading, _)| heading.trim()).collect();
    let words: BTreeSet<&str> = Case::ALL.iter().map(|case| case.word()).collect();
    assert_eq!(headings, words);
    assert_eq!(sections.len(), words.len(), "a heading is there twice");
    for (heading, text) in sections {
        assert!(text.split_whitespace().count() >= 15, "{heading} explains nothing");
    }
    // What answers point to is such a section.
    assert!(
        Case::ALL.iter().all(|case| case.page().split_once('#').is_some_and(|(page, anchor)| page == PAGE && headings.contains(anchor)))
    );
}
