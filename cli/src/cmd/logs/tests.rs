//! Lines are printed once and look the same every time.

use api_types::api::LogStream;

use super::*;

fn line(second: i64, replica: &str, text: &str) -> LogLine {
    LogLine {
        time: DateTime::from_timestamp(second, 0).expect("in range"),
        process: "web".into(),
        replica: replica.into(),
        stream: LogStream::Stdout,
        line: text.into(),
    }
}

fn printer(no_prefix: bool, timestamps: bool) -> Printer {
    let args = Args { name: "shop".into(), follow: true, process: None, since: None, tail: None, no_prefix, timestamps };
    Printer::new(&args)
}

#[test]
fn a_new_connection_repeats_nothing() {
    let mut printer = printer(false, false);
    let first = [line(1, "web.1", "a"), line(2, "web.1", "b"), line(2, "web.1", "b"), line(2, "web.2", "c")];
    assert!(first.iter().all(|line| printer.is_new(line)), "the same text twice in one stream is two lines");
    printer.resumed = true;
    let second = [
        line(1, "web.1", "a"),
        line(2, "web.1", "b"),
        line(2, "web.2", "c"),
        line(2, "web.2", "d"),
        line(3, "web.1", "b"),
        line(2, "web.3", "late"),
    ];
    let new: Vec<bool> = second.iter().map(|line| printer.is_new(line)).collect();
    assert_eq!(new, [false, false, false, true, true, true]);
}

#[test]
fn prefixes_align_and_keep_their_colour() {
    let mut printer = printer(false, true);
    let shown =
        [printer.shown(&line(1, "web.1", "a")), printer.shown(&line(1, "worker.10", "b")), printer.shown(&line(1, "web.1", "c\u{1b}[2J"))];
    let plain: Vec<String> = shown.iter().map(|text| anstream::adapter::strip_str(text).to_string()).collect();
    assert_eq!(
        plain,
        ["web.1 | 1970-01-01T00:00:01.000Z a", "worker.10 | 1970-01-01T00:00:01.000Z b", "web.1     | 1970-01-01T00:00:01.000Z c[2J"]
    );
    assert_eq!(colour("web.1"), colour("web.1"));
    assert_eq!(super::tests::printer(true, false).shown(&line(1, "web.1", "as it is")), "as it is");
}
