//! Reads a Rust file as far as the rules need it: its code without comments, strings and unit tests, and
//! every path that the code names, made absolute.

/// A file, prepared.
pub(super) struct Source {
    /// Path from the root of the repository.
    pub(super) path: String,
    /// Number of lines, all of them.
    pub(super) lines: usize,
    /// Whether it opens with a module header.
    pub(super) has_header: bool,
    /// Paths named in the code, such as `crate::plan::Plan` or `std::fs::read`.
    pub(super) names: Vec<String>,
    /// Keywords and other single words of the code.
    pub(super) words: Vec<String>,
}

impl Source {
    /// Prepares a file.
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = strip(text);
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let tokens = tokens(code);
        let module = module_of(path);
        Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            has_header: text.starts_with("//!") || text.starts_with("#!"),
            names: names(&tokens).into_iter().map(|name| absolute(&name, &module)).collect(),
            words: tokens.into_iter().filter(|token| is_word(token)).collect(),
        }
    }

    /// Whether it holds nothing but tests.
    pub(super) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
            || self.path.contains("/tests/")
            || self.path.starts_with("tests/")
    }

    /// Whether the code names `prefix` or something below it.
    pub(super) fn names_below(&self, prefix: &str) -> Option<&str> {
        let below = |name: &&String| name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        self.names.iter().find(below).map(String::as_str)
    }
}

/// Replaces comments by spaces and empties string literals; keeps line breaks.
fn strip(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let starts = |at: usize, with: &str| with.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    while at < chars.len() {
        if starts(at, "//") {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            while at < chars.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if let Some(hashes) = raw_string(&chars, at) {
            let end: String = std::iter::once('"').chain("#".repeat(hashes).chars()).collect();
            at += hashes + 2;
            while at < chars.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
            out.push_str("\"\"");
        } else if chars[at] == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
            out.push_str("\"\"");
        } else if starts(at, "'\"'") || starts(at, "'\\\"'") {
            at += if starts(at, "'\"'") { 3 } else { 4 };
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Number of hashes when a raw string starts here.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let inside_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_') && chars[at - 1] != 'b';
    if inside_word || chars[at] != 'r' {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::`, and single signs.
fn tokens(code: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        if !first.is_whitespace() {
            found.push(token.to_owned());
        }
        rest = after;
    }
    found
}

/// Every path of two or more segments, with groups spelt out: `a::{b, c::d}` is `a::b` and `a::c::d`.
/// A `use` of a single name counts too.
fn names(tokens: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let after_path = at > 0 && tokens[at - 1] == "::";
        if is_word(&tokens[at]) && !after_path {
            let is_use = at > 0 && tokens[at - 1] == "use";
            let before = found.len();
            at = path(tokens, at, "", &mut found);
            if !is_use && found.len() == before + 1 && !found[before].contains("::") {
                found.pop();
            }
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path at `at`, adds what it names below `prefix`, and gives the position behind it.
fn path(tokens: &[String], mut at: usize, prefix: &str, found: &mut Vec<String>) -> usize {
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let mut name = prefix.to_owned();
    loop {
        if !name.is_empty() {
            name.push_str("::");
        }
        name.push_str(token(at));
        at += 1;
        if token(at) != "::" {
            break;
        }
        at += 1;
        if token(at) == "{" {
            at += 1;
            while at < tokens.len() && token(at) != "}" {
                at = if is_word(token(at)) { path(tokens, at, &name, found) } else { at + 1 };
            }
            return at + 1;
        }
        if !is_word(token(at)) {
            break;
        }
    }
    if token(at) == "as" {
        at += 2;
    }
    found.push(name);
    at
}

/// The module that a file is, from the root of its package.
fn module_of(path: &str) -> Vec<String> {
    let inside = path.split_once("/src/").map_or(path, |(_, inside)| inside);
    let mut module: Vec<String> = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

fn absolute(name: &str, module: &[String]) -> String {
    let mut segments: Vec<&str> = name.split("::").collect();
    let mut base: Vec<&str> = module.iter().map(String::as_str).collect();
    let relative = matches!(segments.first(), Some(&("self" | "super")));
    while let Some(first @ ("self" | "super")) = segments.first().copied() {
        if first == "super" {
            base.pop();
        }
        segments.remove(0);
    }
    if relative { ["crate"].into_iter().chain(base).chain(segments).collect::<Vec<_>>().join("::") } else { name.to_owned() }
}
