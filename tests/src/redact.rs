//! What differs from run to run, out of the text of a command: times, ages, ids, addresses of the machine.

/// The text with words instead of what differs, and with two spaces between columns.
pub fn text(text: &str) -> String {
    text.lines().map(|text| line(text) + "\n").collect()
}

fn line(text: &str) -> String {
    let indent = text.len() - text.trim_start().len();
    let mut out = " ".repeat(indent);
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(' ').unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        out.push_str(&redacted(word));
        let next = after.trim_start();
        // Columns are as wide as their widest cell, which may be an age.
        out.push_str(match after.len() - next.len() {
            0 => "",
            1 => " ",
            _ => "  ",
        });
        rest = next;
    }
    out.trim_end().to_owned()
}

fn redacted(word: &str) -> String {
    let core = word.trim_matches(['(', ')', ',', ';', ':', '.', '[', ']', '"']);
    if core.is_empty() {
        return word.to_owned();
    }
    let kind = [
        (is_age(core), "AGE"),
        (is_uuid(core), "UUID"),
        (is_time(core), "TIME"),
        (is_figure(core), "FIGURE"),
        (is_token(core), "TOKEN"),
        (core.starts_with("/tmp/"), "PATH"),
    ];
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match kind.iter().find(|(found, _)| *found) {
        Some((_, name)) => word.replace(core, name),
        None if !machine.trim().is_empty() && core == machine.trim() => word.replace(core, "NODE"),
        None => word.to_owned(),
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `5s`, `1.2s`, `3m`, `4h12m`, `2d`; not `90d`, which a person wrote.
fn is_age(word: &str) -> bool {
    let plain = |part: &str| part.strip_suffix('s').or_else(|| part.strip_suffix('m')).is_some_and(|number| number.split('.').all(digits));
    plain(word) || word.split_once('m').is_some_and(|(minutes, seconds)| digits(minutes) && plain(seconds))
}

fn is_uuid(word: &str) -> bool {
    word.len() == 36 && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// `2026-11-25`, `23:10`, `2026-11-25T23:10:00Z`.
fn is_time(word: &str) -> bool {
    let date = |text: &str| text.len() == 10 && text.split('-').count() == 3 && text.split('-').all(digits);
    let clock = |text: &str| text.find(':') == Some(2) && text.len() >= 5 && text.trim_end_matches('Z').split([':', '.']).all(digits);
    date(word) || clock(word) || word.split_once('T').is_some_and(|(day, time)| date(day) && clock(time))
}

/// Memory of the machine and of tasks.
fn is_figure(word: &str) -> bool {
    word.strip_suffix("Mi").is_some_and(digits)
}

fn is_token(word: &str) -> bool {
    ["sky_", "skyjoin_"].iter().any(|prefix| word.strip_prefix(prefix).is_some_and(|rest| rest.len() > 20))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_differs_goes_and_the_rest_stays() {
        let line = "shop   1/1     12s   http://shop.example (0197c1de-0000-7000-8000-000000000001) 90d 2026-11-25T10:00:00Z 7955Mi";
        assert_eq!(super::text(line), "shop  1/1  AGE  http://shop.example (UUID) 90d TIME FIGURE\n");
        assert_eq!(super::text("join 127.0.0.1:7071 skyjoin_0123456789abcdef0123456789"), "join 127.0.0.1:7071 TOKEN\n");
        assert_eq!(super::text("  ready in 1.5s, not 3m5s"), "  ready in AGE, not AGE\n");
    }
}
