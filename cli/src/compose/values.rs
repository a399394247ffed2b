//! Values in Compose's notations. Pure.

use api_types::{Cpu, HumanDuration, Memory};

/// A published port in the short notation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    /// Where the process listens.
    pub(super) target: u16,
    /// Where it is published, as written.
    pub(super) published: Option<String>,
    /// Whether it is TCP.
    pub(super) tcp: bool,
}

/// `8080`, `80:8080`, `127.0.0.1:80:8080/tcp`. A range stands for its first port.
///
/// # Errors
/// What it should look like.
pub(super) fn port(text: &str) -> Result<Port, String> {
    let (address, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    // An IPv6 address stands in brackets, and its colons are no separators.
    let after_address = address.rsplit_once("]:").map_or(address, |(_, rest)| rest);
    let mut parts = after_address.rsplit(':');
    let target = parts.next().unwrap_or_default();
    let published = parts.next().filter(|part| !part.is_empty()).map(str::to_owned);
    let first = target.split('-').next().unwrap_or_default();
    let target = first.parse::<u16>().ok().filter(|port| *port != 0);
    let target = target.ok_or_else(|| format!("a port looks like \"8080\" or \"80:8080\"; \"{text}\" does not"))?;
    Ok(Port { target, published, tcp: protocol.eq_ignore_ascii_case("tcp") })
}

/// Compose's bytes: `64m`, `1g`, `512k`, `1gb`; all of them binary.
///
/// # Errors
/// What it should look like, or our bounds.
pub(super) fn memory(text: &str) -> Result<Memory, String> {
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower.get(number.len()..).unwrap_or_default();
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(format!("an amount of memory looks like \"256m\" or \"1g\"; \"{text}\" does not")),
    };
    let bytes = match number.trim().split_once('.') {
        None => number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)),
        Some((whole, fraction)) => fractional(whole, fraction, 1 << shift),
    };
    let bytes = bytes.ok_or_else(|| format!("an amount of memory looks like \"256m\" or \"1g\"; \"{text}\" does not"))?;
    bytes.to_string().parse().map_err(|error: api_types::name::ParseError| error.to_string())
}

fn fractional(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    if fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let scale = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = fraction.parse::<u64>().ok()?.checked_mul(unit)? / scale;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)
}

/// Compose's CPUs: `0.5`, `"2"`, `0.25000`.
///
/// # Errors
/// What it should look like, or our bounds.
pub(super) fn cpus(text: &str) -> Result<Cpu, String> {
    let text = text.trim();
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    let short = if short.starts_with('.') { format!("0{short}") } else { short.to_owned() };
    short.parse().map_err(|error: api_types::name::ParseError| error.to_string())
}

/// Compose's durations: `10s`, `1m30s`, `500ms`, `1.5s`; a plain number is seconds in old files.
///
/// # Errors
/// What it should look like.
pub(super) fn duration(text: &str) -> Result<HumanDuration, String> {
    let text = text.trim();
    let millis = text
        .strip_suffix('s')
        .filter(|number| !number.ends_with(|c: char| c.is_ascii_alphabetic()) && number.contains('.'))
        .and_then(|number| number.split_once('.'))
        .and_then(|(whole, fraction)| fractional(whole, fraction, 1000));
    match millis {
        Some(millis) => Ok(HumanDuration::from_millis(millis)),
        None => text.parse().map_err(|error: api_types::name::ParseError| error.to_string()),
    }
}

/// The lines of an env file: keys with values, and keys alone.
///
/// # Errors
/// The number of a line that is none, and why.
pub fn env_file(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key.trim(), Some(unquoted(value.trim()))),
            None => (line, None),
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("line {number} is not KEY=VALUE"));
        }
        found.push((key.to_owned(), value));
    }
    Ok(found)
}

/// A value without its quotes, or without the comment after it.
fn unquoted(value: &str) -> String {
    for quote in ['"', '\''] {
        if let Some((inside, _)) = value.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
            return if quote == '"' { inside.replace("\\n", "\n") } else { inside.to_owned() };
        }
    }
    value.split(" #").next().unwrap_or_default().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_all_short_forms() {
        let read = |text: &str| port(text).map(|port| (port.target, port.published, port.tcp));
        assert_eq!(read("8080"), Ok((8080, None, true)));
        assert_eq!(read("80:8080"), Ok((8080, Some("80".to_owned()), true)));
        assert_eq!(read("127.0.0.1:80:8080/tcp"), Ok((8080, Some("80".to_owned()), true)));
        assert_eq!(read("[::1]:80:8080"), Ok((8080, Some("80".to_owned()), true)));
        assert_eq!(read("127.0.0.1::53/udp"), Ok((53, None, false)));
        assert_eq!(read("8000-8005:9000-9005"), Ok((9000, Some("8000-8005".to_owned()), true)));
        for bad in ["", "x", "80:", "0", "70000"] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quantities_become_ours() {
        for (text, want) in [("64M", "64Mi"), ("64m", "64Mi"), ("1.5g", "1536Mi"), ("1gb", "1Gi"), ("67108864", "64Mi"), ("65536k", "64Mi")]
        {
            assert_eq!(memory(text).map(|memory| memory.to_string()), Ok(want.to_owned()), "{text}");
        }
        for bad in ["", "m", "64x", "1.m", "-1", "1k"] {
            assert!(memory(bad).is_err(), "{bad}");
        }
        for (text, want) in [("0.50", "500m"), ("2", "2"), ("1.0", "1"), (".25", "250m"), ("0.25000", "250m")] {
            assert_eq!(cpus(text).map(|cpu| cpu.to_string()), Ok(want.to_owned()), "{text}");
        }
        assert!(cpus("0.3333").is_err() && cpus("lots").is_err());
        for (text, want) in [("1m30s", "1m30s"), ("1.5s", "1s500ms"), ("500ms", "500ms")] {
            assert_eq!(duration(text).map(|duration| duration.to_string()), Ok(want.to_owned()), "{text}");
        }
        assert!(duration("soon").is_err());
    }

    #[test]
    fn env_files_are_read_as_compose_reads_them() {
        let text = "# comment\n\nA=1\nexport B = two words # why\nC=\"x\\ny\"\nD='$x # y'\nE=\nF\n";
        let found = env_file(text).expect("a good file");
        let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let want = [("A", Some("1")), ("B", Some("two words")), ("C", Some("x\ny")), ("D", Some("$x # y")), ("E", Some("")), ("F", None)];
        assert_eq!(found, want);
        assert_eq!(env_file("A=1\nnot a line\n"), Err("line 2 is not KEY=VALUE".to_owned()));
    }
}
