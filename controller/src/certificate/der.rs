//! The few fields of an X.509 certificate that the TLS library does not tell: subject, issuer, times.
//!
//! It reads DER as far as it has to and trusts nothing: every length is checked against what is there, and
//! nothing is allocated by a length. Whether the certificate is genuine is not its business.

use chrono::{DateTime, NaiveDate, Utc};

const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// Context tag 0, around the version.
const VERSION: u8 = 0xa0;

/// Attributes of a name that are shown, all below 2.5.4, with their usual short forms.
const ATTRIBUTES: [(u8, &str); 6] = [(3, "CN"), (6, "C"), (7, "L"), (8, "ST"), (10, "O"), (11, "OU")];

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    /// As it stands in the certificate, to be compared.
    pub(super) issuer_der: Vec<u8>,
    /// As it stands in the certificate, to be compared.
    pub(super) subject_der: Vec<u8>,
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
}

/// Reads a certificate; `None` when it is none.
pub(super) fn fields(der: &[u8]) -> Option<Fields> {
    let mut certificate = Reader(Reader(der).expect(SEQUENCE)?);
    let mut body = Reader(certificate.expect(SEQUENCE)?);
    if body.peek() == Some(VERSION) {
        body.expect(VERSION)?;
    }
    body.expect(INTEGER)?;
    body.expect(SEQUENCE)?;
    let issuer = body.expect(SEQUENCE)?;
    let mut validity = Reader(body.expect(SEQUENCE)?);
    let (not_before, not_after) = (validity.time()?, validity.time()?);
    let subject = body.expect(SEQUENCE)?;
    Some(Fields {
        issuer_der: issuer.to_vec(),
        subject_der: subject.to_vec(),
        issuer: name(issuer)?,
        subject: name(subject)?,
        not_before,
        not_after,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next value: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let length = match first {
            0..=0x7f => usize::from(first),
            // Up to four bytes of length; without one (0x80) it is not DER.
            0x81..=0x84 => {
                let (bytes, after) = rest.split_at_checked(usize::from(first & 0x0f))?;
                rest = after;
                bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte))
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    fn time(&mut self) -> Option<DateTime<Utc>> {
        let (tag, content) = self.next()?;
        let digits = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (year, rest) = match (tag, digits.len()) {
            (UTC_TIME, 12) => {
                let (year, rest) = digits.split_at(2);
                let year: i32 = year.parse().ok()?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            (GENERALIZED_TIME, 14) => {
                let (year, rest) = digits.split_at(4);
                (year.parse().ok()?, rest)
            }
            _ => return None,
        };
        let part = |at: usize| rest.get(at..at + 2)?.parse::<u32>().ok();
        let day = NaiveDate::from_ymd_opt(year, part(0)?, part(2)?)?;
        Some(day.and_hms_opt(part(4)?, part(6)?, part(8)?)?.and_utc())
    }
}

/// A name as `CN=…, O=…`, in the order of the certificate.
fn name(content: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    let mut sets = Reader(content);
    while sets.peek().is_some() {
        let mut set = Reader(sets.expect(SET)?);
        while set.peek().is_some() {
            let mut attribute = Reader(set.expect(SEQUENCE)?);
            let id = attribute.expect(OBJECT_ID)?;
            let (_, text) = attribute.next()?;
            let known = match id {
                [0x55, 0x04, last] => ATTRIBUTES.iter().find(|(number, _)| number == last),
                _ => None,
            };
            if let Some((_, word)) = known {
                let text: String = String::from_utf8_lossy(text).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
                parts.push(format!("{word}={text}"));
            }
        }
    }
    Some(parts.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_of_a_time_are_read_and_others_are_not() {
        let time = |tag, text: &str| {
            let der = [&[tag, u8::try_from(text.len()).expect("is short")], text.as_bytes()].concat();
            Reader(&der).time().map(|time| time.to_rfc3339())
        };
        assert_eq!(time(UTC_TIME, "491231235959Z").as_deref(), Some("2049-12-31T23:59:59+00:00"));
        assert_eq!(time(UTC_TIME, "500101000000Z").as_deref(), Some("1950-01-01T00:00:00+00:00"));
        assert_eq!(time(GENERALIZED_TIME, "20500229000000Z"), None, "no leap year");
        assert_eq!(time(GENERALIZED_TIME, "99991231235959Z").as_deref(), Some("9999-12-31T23:59:59+00:00"));
        for wrong in ["491231235959", "49123123595Z", "4912312359+0100", "49123123595xZ"] {
            assert_eq!(time(UTC_TIME, wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
            let _ = name(&bytes);
        }

        #[test]
        fn a_certificate_with_any_byte_changed_or_cut_off_is_read_or_refused(at in 0usize..600, byte in any::<u8>(), cut in any::<bool>()) {
            let made = super::super::tests::self_signed(&["a.example"], "2030-01-01");
            let mut der = super::super::ders(&made.chain).expect("is PEM").remove(0).to_vec();
            let at = at.min(der.len() - 1);
            if cut { der.truncate(at) } else { der[at] = byte }
            let _ = fields(&der);
        }
    }
}
