//! From YAML (or JSON, which is YAML) to JSON values with positions.
//!
//! The rules are those of YAML 1.2's core schema and some more of our own, because a manifest is read by
//! people in a hurry: duplicate keys, tags, merge keys (but see [`read_merging`]) and aliases that refer to themselves are errors. Size, depth, number of nodes and what aliases may
//! expand to are bounded before memory is taken for them.
//!
//! The parser cannot go on after a syntax error, so a file has at most one of those; documents before it
//! are still checked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use api_types::{FieldError, check};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};
use serde_json::{Map, Number, Value};

use super::position::{Mark, Place, Positions};

/// Deepest nesting; manifests need 6.
const MAX_DEPTH: usize = 64;
/// Most nodes of a file, those of aliases counted each time.
const MAX_NODES: usize = 200_000;

/// What was read from one file.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The documents that could be read; empty ones are left out.
    pub(super) documents: Vec<(Value, Positions)>,
    /// What could not be read or is not allowed.
    pub(super) errors: Vec<(Mark, FieldError)>,
}

/// Reads all documents of a text.
pub(super) fn read(text: &str) -> Read {
    read_with(text, false)
}

/// As [`read`], but merge keys (`<<`) of YAML 1.1 are followed: files that are written for other programs use them.
pub(super) fn read_merging(text: &str) -> Read {
    read_with(text, true)
}

fn read_with(text: &str, merge: bool) -> Read {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut read = Read::default();
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let result = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => Err(syntax(&error, text)),
        };
        match result {
            Ok(None) => {}
            Ok(Some(root)) => {
                let mut convert = Convert { positions: Positions::default(), errors: Vec::new(), budget: MAX_NODES, full: false, merge };
                let value = convert.node(&root, check::ROOT, root.start, 0);
                read.errors.append(&mut convert.errors);
                if !value.is_null() {
                    read.documents.push((value, convert.positions));
                }
            }
            Err((mark, message)) => {
                read.errors.push((mark, FieldError::new("", message)));
                return read;
            }
        }
    }
    read
}

fn mark(marker: &Marker) -> Mark {
    Mark { line: marker.line(), column: marker.col() + 1 }
}

type Refusal = (Mark, String);

/// The parser's words, with what people mostly did.
fn syntax(error: &ScanError, text: &str) -> Refusal {
    let at = mark(error.marker());
    let line = text.lines().nth(at.line.saturating_sub(1)).unwrap_or_default();
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    let hint = if indent.contains('\t') {
        "; indent with spaces, tabs are not allowed"
    } else if error.info().contains("mapping values are not allowed") {
        "; check the indentation of this line and the one above, and quote values that contain \": \""
    } else if error.info().contains("block mapping") || error.info().contains("block entry") {
        "; check the indentation"
    } else if error.info().contains("unexpected end of stream") {
        "; is a quote or a bracket never closed?"
    } else {
        ""
    };
    (at, format!("this is not YAML: {}{hint}", error.info()))
}

#[derive(Debug)]
struct Node {
    start: Mark,
    end: Mark,
    data: Data,
}

#[derive(Debug)]
enum Data {
    Scalar { text: String, plain: bool, tag: Option<String> },
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
    Refused(String),
}

/// A collection whose end was not seen yet.
struct Open {
    start: Mark,
    anchor: usize,
    tag: Option<String>,
    map: bool,
    children: Vec<Rc<Node>>,
}

/// Builds trees from events, with a stack of its own: nothing here recurses.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    nodes: usize,
}

impl Builder {
    /// Takes an event; at the end of a document, that document.
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<Option<Rc<Node>>, Refusal> {
        let (start, end) = (mark(&span.start), mark(&span.end));
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::DocumentEnd => return Ok(self.root.take()),
            Event::Alias(anchor) => {
                let node = match self.anchors.get(&anchor) {
                    Some(node) => Rc::clone(node),
                    None => Rc::new(Node { start, end, data: Data::Refused("an alias cannot refer to what it is a part of".to_owned()) }),
                };
                self.add(node, start)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let data = Data::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain, tag: tag.map(|tag| tag_name(&tag)) };
                let node = Rc::new(Node { start, end, data });
                self.anchor(anchor, &node);
                self.add(node, start)?;
            }
            Event::SequenceStart(anchor, tag) => self.push(start, anchor, tag.map(|tag| tag_name(&tag)), false)?,
            Event::MappingStart(anchor, tag) => self.push(start, anchor, tag.map(|tag| tag_name(&tag)), true)?,
            Event::SequenceEnd | Event::MappingEnd => self.close(end)?,
        }
        Ok(None)
    }

    fn anchor(&mut self, anchor: usize, node: &Rc<Node>) {
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(node));
        }
    }

    fn push(&mut self, start: Mark, anchor: usize, tag: Option<String>, map: bool) -> Result<(), Refusal> {
        if self.open.len() >= MAX_DEPTH {
            return Err((start, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.open.push(Open { start, anchor, tag, map, children: Vec::new() });
        Ok(())
    }

    fn close(&mut self, end: Mark) -> Result<(), Refusal> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let data = match open.tag {
            Some(tag) if tag != "map" && tag != "seq" => Data::Refused(format!("the tag !{tag} is not supported; remove it")),
            _ if open.map => {
                let mut pairs = Vec::with_capacity(open.children.len() / 2);
                let mut children = open.children.into_iter();
                while let (Some(key), Some(value)) = (children.next(), children.next()) {
                    pairs.push((key, value));
                }
                Data::Map(pairs)
            }
            _ => Data::List(open.children),
        };
        let node = Rc::new(Node { start: open.start, end, data });
        self.anchor(open.anchor, &node);
        self.add(node, open.start)
    }

    fn add(&mut self, node: Rc<Node>, at: Mark) -> Result<(), Refusal> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err((at, format!("the file has more than {MAX_NODES} values")));
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.root = Some(node),
        }
        Ok(())
    }
}

fn tag_name(tag: &Tag) -> String {
    if tag.is_yaml_core_schema() { tag.suffix.clone() } else { format!("{}{}", tag.handle.trim_start_matches('!'), tag.suffix) }
}

/// Turns a tree into a value and notes positions. Recursion is bounded by [`MAX_DEPTH`].
struct Convert {
    positions: Positions,
    errors: Vec<(Mark, FieldError)>,
    budget: usize,
    full: bool,
    merge: bool,
}

impl Convert {
    fn node(&mut self, node: &Node, path: &str, key: Mark, depth: usize) -> Value {
        // Aliases may repeat a subtree below itself or very often; what was built is then worth nothing.
        if self.full || self.budget == 0 || depth > MAX_DEPTH {
            if !self.full {
                self.full = true;
                self.errors.push((node.start, FieldError::new(path, "aliases make this document too large")));
            }
            return Value::Null;
        }
        self.budget -= 1;
        let scalar = matches!(node.data, Data::Scalar { .. });
        let (value, source) = match &node.data {
            Data::Scalar { text, plain, tag } => self.scalar(text, *plain, tag.as_deref(), node.start, path),
            Data::List(items) => {
                let items = items.iter().enumerate().map(|(n, item)| self.node(item, &check::index(path, n), item.start, depth + 1));
                (Value::Array(items.collect()), None)
            }
            Data::Map(pairs) => (self.map(pairs, path, depth), None),
            Data::Refused(message) => (self.refuse(node.start, path, message.clone()), None),
        };
        if is_secret(path) && (scalar || !path.ends_with("spec.secrets")) {
            self.positions.secrets.push((node.start, node.end));
        }
        self.positions.places.insert(path.to_owned(), Place { key, value: node.start, source, scalar });
        value
    }

    fn refuse(&mut self, at: Mark, path: &str, message: String) -> Value {
        self.errors.push((at, FieldError::new(path, message)));
        self.positions.refused.insert(path.to_owned());
        Value::Null
    }

    fn map(&mut self, pairs: &[Pair], path: &str, depth: usize) -> Value {
        let merged = if self.merge { merged(pairs, 0) } else { None };
        let pairs = merged.as_deref().unwrap_or(pairs);
        let mut map = Map::new();
        let mut seen: BTreeMap<String, Mark> = BTreeMap::new();
        for (key, value) in pairs {
            let Data::Scalar { text, plain, .. } = &key.data else {
                self.errors.push((key.start, FieldError::new(path, "a key must be plain text, not a list or a map")));
                continue;
            };
            let here = check::field(path, text);
            if text == "<<" && *plain {
                let message = "merge keys (<<) are not part of YAML 1.2; write the fields out, or refer to a whole value with an alias";
                self.errors.push((key.start, FieldError::new(path, message)));
                continue;
            }
            if let Some(first) = seen.get(text) {
                let message = format!("this key is already set on line {}", first.line);
                if is_secret(&here) {
                    self.positions.secrets.push((value.start, value.end));
                }
                self.errors.push((key.start, FieldError::new(here, message)));
                continue;
            }
            seen.insert(text.clone(), key.start);
            let value = self.node(value, &here, key.start, depth + 1);
            map.insert(text.clone(), value);
        }
        Value::Object(map)
    }

    fn scalar(&mut self, text: &str, plain: bool, tag: Option<&str>, at: Mark, path: &str) -> (Value, Option<String>) {
        match tag {
            None if plain => {}
            None | Some("str" | "") => return (Value::from(text), None),
            Some("int" | "float" | "bool" | "null") => {}
            Some(tag) => {
                return (self.refuse(at, path, format!("the tag !{tag} is not supported; remove it")), None);
            }
        }
        let value = match resolve(text) {
            Some(value) => value,
            None if is_not_finite(text) => {
                return (self.refuse(at, path, format!("{text} is no number here; quote it if it is text")), None);
            }
            None => return (Value::from(text), None),
        };
        let source = (!value.is_null() && !is_secret(path)).then(|| text.to_owned());
        (value, source)
    }
}

type Pair = (Rc<Node>, Rc<Node>);

/// The pairs with those of merge keys, which never replace a key that is there; `None` when there are no merge keys. What
/// is merged from something else than a map stays, and is refused later.
fn merged(pairs: &[Pair], depth: usize) -> Option<Vec<Pair>> {
    let key = |node: &Node| match &node.data {
        Data::Scalar { text, .. } => Some(text.clone()),
        _ => None,
    };
    let sources = |(key, value): &Pair| match (&key.data, &value.data) {
        (Data::Scalar { text, plain: true, .. }, Data::Map(_)) if text == "<<" => Some(vec![Rc::clone(value)]),
        (Data::Scalar { text, plain: true, .. }, Data::List(items)) if text == "<<" => {
            items.iter().all(|item| matches!(item.data, Data::Map(_))).then(|| items.clone())
        }
        _ => None,
    };
    if depth > MAX_DEPTH || pairs.iter().all(|pair| sources(pair).is_none()) {
        return None;
    }
    let mut out: Vec<Pair> = pairs.iter().filter(|pair| sources(pair).is_none()).cloned().collect();
    let mut seen: BTreeSet<String> = out.iter().filter_map(|(node, _)| key(node)).collect();
    for source in pairs.iter().filter_map(sources).flatten() {
        let Data::Map(inner) = &source.data else { continue };
        let deeper = merged(inner, depth + 1);
        for (node, value) in deeper.as_deref().unwrap_or(inner) {
            if key(node).is_none_or(|text| seen.insert(text)) {
                out.push((Rc::clone(node), Rc::clone(value)));
            }
        }
    }
    Some(out)
}

fn is_secret(path: &str) -> bool {
    path.contains("spec.secrets")
}

fn is_not_finite(text: &str) -> bool {
    matches!(text.trim_start_matches(['-', '+']), ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN")
}

/// The value of a plain scalar in YAML 1.2's core schema; `None` for text.
fn resolve(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let radix = |digits: &str, radix: u32| u64::from_str_radix(digits, radix).ok().map(Value::from);
    let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_alphanumeric());
    if let Some(digits) = text.strip_prefix("0o").filter(|digits| plain(digits)) {
        return radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x").filter(|digits| plain(digits)) {
        return radix(digits, 16);
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let signed = text.strip_prefix('+').unwrap_or(text);
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let integer = signed.parse::<i64>().map(Value::from).or_else(|_| signed.parse::<u64>().map(Value::from));
        if let Ok(value) = integer {
            return Some(value);
        }
    }
    let float = unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !float || !unsigned.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    signed.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
}
