//! Messages in the format of server-sent events.

use api_types::watch::WatchEvent;
use serde::Serialize;

/// How soon a client should come back, in milliseconds; the first line of every stream.
pub(super) const PREAMBLE: &[u8] = b"retry: 1000\n\n";
/// A line that means nothing, to show that both ends are there.
pub(super) const COMMENT: &[u8] = b": nothing new\n\n";

/// One message. With an id the client may resume after it.
pub(super) fn message<T: Serialize>(event: &WatchEvent<T>, id: Option<&str>) -> serde_json::Result<Vec<u8>> {
    let mut text = format!("event: {}\n", event.word()).into_bytes();
    if let Some(id) = id {
        text.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    text.extend_from_slice(b"data: ");
    // JSON escapes line ends, so a message is one line.
    serde_json::to_writer(&mut text, event)?;
    text.extend_from_slice(b"\n\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_data_whatever_is_in_it() {
        let event = WatchEvent::Added("a\nid: 7\r\n\ndata: b");
        let text = String::from_utf8(message(&event, Some("w7")).expect("serialises")).expect("UTF-8");
        assert_eq!(text, "event: ADDED\nid: w7\ndata: {\"type\":\"ADDED\",\"object\":\"a\\nid: 7\\r\\n\\ndata: b\"}\n\n");
        assert_eq!(text.lines().count(), 4);
        assert!(!String::from_utf8(message(&event, None).expect("serialises")).expect("UTF-8").contains("id: w"));
    }
}
