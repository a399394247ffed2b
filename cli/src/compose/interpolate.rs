//! Variables in a Compose file: `$NAME`, `${NAME:-default}` and their relatives, as Compose's specification has them.
//! Pure: values come from a function.

use std::collections::BTreeSet;

/// Deepest nesting of defaults within defaults.
const MAX_DEPTH: usize = 16;

/// Where values come from, and which were asked for in vain.
pub(super) struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Names that have neither a value nor a default.
    pub(super) missing: BTreeSet<String>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, missing: BTreeSet::new() }
    }

    /// The text with its variables replaced.
    ///
    /// # Errors
    /// What is wrong with the text, or the message of `${NAME:?message}`.
    pub(super) fn fill(&mut self, text: &str) -> Result<String, String> {
        self.fill_at(text, 0)
    }

    /// The value of a variable by itself.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name)
    }

    fn fill_at(&mut self, text: &str, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err("defaults are nested too deeply".to_owned());
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(rest.get(..at).unwrap_or_default());
            rest = rest.get(at + 1..).unwrap_or_default();
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some(inside) = rest.strip_prefix('{') {
                let end = closing(inside).ok_or_else(|| "\"${\" has no \"}\"; write $$ for a plain $".to_owned())?;
                let expression = inside.get(..end).unwrap_or_default();
                out.push_str(&self.expression(expression, depth)?);
                rest = inside.get(end + 1..).unwrap_or_default();
            } else {
                let length = name_length(rest);
                if length == 0 {
                    return Err("a $ stands alone; write $$ for a plain $".to_owned());
                }
                let name = rest.get(..length).unwrap_or_default();
                out.push_str(&self.value(name));
                rest = rest.get(length..).unwrap_or_default();
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&mut self, name: &str) -> String {
        self.get(name).unwrap_or_else(|| {
            self.missing.insert(name.to_owned());
            String::new()
        })
    }

    /// What is between the braces.
    fn expression(&mut self, text: &str, depth: usize) -> Result<String, String> {
        let (name, operator) = text.split_at(name_length(text));
        if name.is_empty() {
            return Err(format!("\"${{{text}}}\" does not begin with the name of a variable"));
        }
        if operator.is_empty() {
            return Ok(self.value(name));
        }
        let (counts_empty, operator) = match operator.strip_prefix(':') {
            Some(operator) => (false, operator),
            None => (true, operator),
        };
        let value = self.get(name).filter(|value| counts_empty || !value.is_empty());
        let (sign, word) = operator.split_at(operator.chars().next().map_or(0, char::len_utf8));
        match (sign, value) {
            ("-" | "?", Some(value)) => Ok(value),
            ("-", None) | ("+", Some(_)) => self.fill_at(word, depth + 1),
            ("+", None) => Ok(String::new()),
            ("?", None) if word.is_empty() => Err(format!("the variable {name} must be set")),
            ("?", None) => Err(format!("the variable {name} must be set: {word}")),
            _ => Err(format!(
                "\"${{{text}}}\" is not known; there are ${{NAME}}, ${{NAME:-default}}, ${{NAME:?message}} and ${{NAME:+text}}"
            )),
        }
    }
}

fn name_length(text: &str) -> usize {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    if text.starts_with(|c: char| c.is_ascii_digit()) { 0 } else { length }
}

/// Where the brace closes that was open before the text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_as_compose_does() {
        let lookup = |name: &str| match name {
            "TAG" => Some("1.2".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut variables = Variables::new(&lookup);
        for (text, want) in [
            ("shop:$TAG", Ok("shop:1.2")),
            ("shop:${TAG}x", Ok("shop:1.2x")),
            ("${NONE:-latest}", Ok("latest")),
            ("${EMPTY:-latest}", Ok("latest")),
            ("${EMPTY-latest}", Ok("")),
            ("${NONE:-${TAG}}", Ok("1.2")),
            ("${TAG:+set}${NONE:+set}", Ok("set")),
            ("cost: $$5", Ok("cost: $5")),
            ("$$TAG", Ok("$TAG")),
            ("${NONE}", Ok("")),
            ("${NONE:?say it}", Err("the variable NONE must be set: say it")),
            ("${TAG:?say it}", Ok("1.2")),
            ("${TAG", Err("\"${\" has no \"}\"; write $$ for a plain $")),
            ("$ 5", Err("a $ stands alone; write $$ for a plain $")),
            ("${1}", Err("\"${1}\" does not begin with the name of a variable")),
        ] {
            assert_eq!(variables.fill(text), want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        assert!(variables.fill("${TAG/a/b}").is_err());
        assert_eq!(variables.missing.into_iter().collect::<Vec<_>>(), ["NONE"]);
    }
}
