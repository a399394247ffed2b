//! Looks up IPv4 addresses by asking the name server itself.
//!
//! A static binary in an empty image cannot use the C library's resolver: it loads parts that are not
//! there. One UDP question is all that the app needs. Answers are not cached and not verified.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(2);
const ID: u16 = 0x5357;

/// Addresses of a name, in the order of the answer.
pub(crate) fn lookup(name: &str) -> Result<Vec<IpAddr>, String> {
    let question = question(name).ok_or_else(|| format!("\"{name}\" is no host name"))?;
    let server = name_server();
    let exchange = || {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.connect(server)?;
        socket.send(&question)?;
        let mut buffer = [0u8; 1500];
        let length = socket.recv(&mut buffer)?;
        Ok::<_, std::io::Error>(buffer.get(..length).unwrap_or_default().to_vec())
    };
    let answer = exchange().map_err(|error| format!("name server {server} did not answer: {error}"))?;
    match addresses(&answer, question.len()) {
        Some(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("no address for {name}")),
    }
}

fn name_server() -> SocketAddr {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let found = text.lines().filter_map(|line| line.strip_prefix("nameserver")).find_map(|rest| rest.trim().parse::<IpAddr>().ok());
    SocketAddr::new(found.unwrap_or(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11))), 53)
}

/// One question of type A, class IN, recursion wanted.
fn question(name: &str) -> Option<Vec<u8>> {
    let mut packet = ID.to_be_bytes().to_vec();
    packet.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    if name.is_empty() || name.len() > 253 {
        return None;
    }
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        packet.push(length);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    Some(packet)
}

/// The A records of an answer whose question takes up the first `skip` bytes.
fn addresses(packet: &[u8], skip: usize) -> Option<Vec<IpAddr>> {
    if packet.get(..2)? != ID.to_be_bytes() {
        return None;
    }
    let count = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]);
    let mut at = skip;
    let mut found = Vec::new();
    for _ in 0..count {
        at = skip_name(packet, at)?;
        let kind = packet.get(at..at + 2)?;
        let length = usize::from(u16::from_be_bytes([*packet.get(at + 8)?, *packet.get(at + 9)?]));
        let data = packet.get(at + 10..at + 10 + length)?;
        if kind == [0, 1]
            && let Ok(octets) = <[u8; 4]>::try_from(data)
        {
            found.push(IpAddr::from(octets));
        }
        at += 10 + length;
    }
    Some(found)
}

/// Position behind a name, which ends with a zero byte or a pointer.
fn skip_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_broken_ones_are_refused() {
        let asked = question("web").expect("a name");
        let mut answer = asked.clone();
        answer[7] = 1;
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 1, 2, 3]);
        assert_eq!(addresses(&answer, asked.len()), Some(vec![IpAddr::from([10, 1, 2, 3])]));
        for cut in 0..answer.len() {
            let _ = addresses(&answer[..cut], asked.len());
        }
        assert_eq!(addresses(&answer[..answer.len() - 1], asked.len()), None);
        assert_eq!(question(""), None);
        assert_eq!(question("a..b"), None);
    }
}
