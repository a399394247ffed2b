//! How objects are named on the command line: `apps`, `app shop`, `app/shop`.

use api_types::{Kind, check};

use crate::errors::{CliError, Result};

/// Short forms besides those that [`Kind`] knows.
const SHORT: [(&str, Kind); 7] = [
    ("cert", Kind::Certificate),
    ("certs", Kind::Certificate),
    ("dom", Kind::Domain),
    ("host", Kind::Domain),
    ("hosts", Kind::Domain),
    ("tenant", Kind::Organization),
    ("cfg", Kind::Setting),
];

/// Reads a kind's word.
///
/// # Errors
/// When there is no such kind; says which one was probably meant.
pub fn kind(word: &str) -> Result<Kind> {
    let lower = word.to_ascii_lowercase();
    if let Some((_, kind)) = SHORT.iter().find(|(short, _)| *short == lower) {
        return Ok(*kind);
    }
    word.parse::<Kind>().map_err(|error| {
        let near = check::closest(&lower, Kind::ALL.into_iter().map(Kind::plural));
        CliError::Usage(match near {
            Some(near) => format!("{error}; did you mean \"{near}\"?"),
            None => error.to_string(),
        })
    })
}

/// Reads `KIND [NAME…]` or `KIND/NAME…`.
///
/// # Errors
/// When a kind is unknown, or kinds are mixed.
pub fn selection(words: &[String]) -> Result<(Kind, Vec<String>)> {
    let Some((first, rest)) = words.split_first() else {
        return Err(CliError::Usage("a kind is needed, such as apps".to_owned()));
    };
    let Some((word, name)) = first.split_once('/') else {
        // A name alone is what newcomers type.
        let alone = |error: CliError| match (&error, rest) {
            (CliError::Usage(text), []) if !text.contains("did you mean") => {
                CliError::Usage(format!("{text}. If \"{first}\" is an app, write app/{first}"))
            }
            _ => error,
        };
        return Ok((kind(first).map_err(alone)?, rest.to_vec()));
    };
    let wanted = kind(word)?;
    let mut names = vec![name.to_owned()];
    for other in rest {
        match other.split_once('/') {
            Some((word, name)) if kind(word)? == wanted => names.push(name.to_owned()),
            _ => return Err(CliError::Usage(format!("\"{other}\" after \"{first}\": write every object as {word}/NAME, of one kind"))),
        }
    }
    if names.iter().any(String::is_empty) {
        return Err(CliError::Usage(format!("a name is missing after \"{word}/\"")));
    }
    Ok((wanted, names))
}

/// Reads `NAME` or `app/NAME`.
///
/// # Errors
/// When it names another kind.
pub fn app(word: &str) -> Result<String> {
    match word.split_once('/') {
        None if !word.is_empty() => Ok(word.to_owned()),
        Some((prefix, name)) if !name.is_empty() && kind(prefix)? == Kind::App => Ok(name.to_owned()),
        _ => Err(CliError::Usage(format!("\"{word}\" is not an app; write its NAME or app/NAME"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn objects_are_named_in_three_ways() {
        for text in ["app shop", "apps shop", "App/shop", "app/shop"] {
            assert_eq!(selection(&words(text)).expect(text), (Kind::App, vec!["shop".to_owned()]));
        }
        assert_eq!(selection(&words("app/a app/b")).expect("two").1.len(), 2);
        for text in ["app/a domain/b", "app/a b", "app/", "pods"] {
            assert!(selection(&words(text)).is_err(), "{text}");
        }
        assert_eq!(app("app/shop").expect("an app"), "shop");
        assert!(app("node/x").is_err());
        let error = selection(&words("hello")).expect_err("a name").to_string();
        assert!(error.ends_with("If \"hello\" is an app, write app/hello"), "{error}");
        let error = selection(&words("aps")).expect_err("misspelt").to_string();
        assert!(error.contains("did you mean \"apps\"?"), "{error}");
    }
}
