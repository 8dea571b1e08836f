//! Values between text and payload bytes.

use std::borrow::Cow;
use std::fmt::Write;

use bytes::Bytes;
use clap::ValueEnum;
use ringbus::{Encoding, Sample};
use serde::Serialize;
use serde_json::Value;

/// The encodings, as a user chooses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// The text itself
    #[default]
    Raw,
    /// Each value is JSON
    Json,
    /// Each value is a string, in the compact form that Rust programs use
    Postcard,
}

impl From<Format> for Encoding {
    fn from(format: Format) -> Self {
        match format {
            Format::Raw => Self::Raw,
            Format::Json => Self::Json,
            Format::Postcard => Self::Postcard,
        }
    }
}

/// A value to publish.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Payload {
    /// As it is.
    Raw(Bytes),
    /// Parsed.
    Json(Value),
    /// A string.
    Text(String),
}

impl Payload {
    /// Reads a line in the format.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub(crate) fn read(format: Format, line: Vec<u8>) -> Result<Self, String> {
        match format {
            Format::Raw => Ok(Self::Raw(line.into())),
            Format::Json => serde_json::from_slice(&line)
                .map(Self::Json)
                .map_err(|error| format!("{} is not JSON ({error}): strings need quotes", quoted(&line))),
            Format::Postcard => String::from_utf8(line)
                .map(Self::Text)
                .map_err(|error| format!("{} is not UTF-8 text", quoted(error.as_bytes()))),
        }
    }
}

/// A sample's value, for people and for programs.
#[derive(Debug, Serialize)]
pub(crate) enum Shown<'a> {
    /// A string.
    #[serde(rename = "value")]
    Text(Cow<'a, str>),
    /// What JSON says.
    #[serde(rename = "value")]
    Json(Value),
    /// Not text.
    #[serde(rename = "bytes")]
    Bytes(&'a [u8]),
    /// Bytes that mean something to programs which know the type.
    #[serde(rename = "bytes")]
    Hex(&'a [u8]),
}

impl<'a> Shown<'a> {
    /// Decodes a sample. Postcard is text only where the user has said so: the bytes do not tell.
    ///
    /// # Errors
    /// The payload is not what its encoding says, or what the user has said.
    pub(crate) fn of(sample: &'a Sample<Value>, expected: Option<Format>) -> ringbus::Result<Self> {
        match sample.encoding() {
            Encoding::Json => sample.value().map(Self::Json),
            Encoding::Postcard if expected.is_none() => Ok(Self::Hex(sample.payload())),
            Encoding::Postcard => sample.decode::<&str>().map(|text| Self::Text(text.into())),
            _ => Ok(match std::str::from_utf8(sample.payload()) {
                Ok(text) => Self::Text(text.into()),
                Err(_) => Self::Bytes(sample.payload()),
            }),
        }
    }

    /// In one line, without anything that a terminal would obey.
    pub(crate) fn line(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => escape(text.as_bytes()),
            // Strings within it are escaped as JSON has it.
            Self::Json(value) => value.to_string().into(),
            Self::Bytes(bytes) => escape(bytes),
            Self::Hex(bytes) => {
                let mut line = String::with_capacity(2 + 2 * bytes.len());
                line.push_str("0x");
                for byte in *bytes {
                    // Writing to a string cannot fail.
                    let _ = write!(line, "{byte:02x}");
                }
                line.into()
            }
        }
    }
}

/// Control characters but tabs, and bytes that are not UTF-8, become `\n`, `\r` or `\xNN`.
pub(crate) fn escape(bytes: &[u8]) -> Cow<'_, str> {
    let is_plain = |c: char| c == '\t' || !c.is_control();
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_plain) => return text.into(),
        _ => {}
    }
    let mut line = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                c if is_plain(c) => line.push(c),
                c => escape_bytes(&mut line, c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        escape_bytes(&mut line, chunk.invalid());
    }
    line.into()
}

fn escape_bytes(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(line, "\\x{byte:02x}");
    }
}

/// Errors quote the input, but not a megabyte of it.
fn quoted(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(320)]);
    format!("{:?}", text.chars().take(80).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_would_break_a_line_is_escaped() {
        assert_eq!(escape("12.5 °C\tüber\\".as_bytes()), "12.5 °C\tüber\\");
        assert_eq!(escape(b"a\nb\r\x1b[2J\xff\xfez"), "a\\nb\\r\\x1b[2J\\xff\\xfez");
        assert_eq!(escape("\u{85}".as_bytes()), "\\xc2\\x85");
    }

    #[test]
    fn lines_become_values_in_their_format() {
        let read = |format, line: &[u8]| Payload::read(format, line.to_vec());
        assert_eq!(read(Format::Raw, b"\xff"), Ok(Payload::Raw(Bytes::from_static(b"\xff"))));
        assert_eq!(read(Format::Json, b"[1]"), Ok(Payload::Json(serde_json::json!([1]))));
        assert_eq!(read(Format::Postcard, b"x"), Ok(Payload::Text("x".into())));
        assert!(read(Format::Json, b"warm").unwrap_err().starts_with("\"warm\" is not JSON"));
        assert!(read(Format::Postcard, b"\xff").unwrap_err().ends_with("is not UTF-8 text"));
    }

    #[test]
    fn raw_payloads_are_the_bytes_themselves() {
        let mut out = Vec::new();
        Encoding::Raw.encode(&Payload::Raw(Bytes::from_static(b"\x00\xff")), &mut out).unwrap();
        assert_eq!(out, b"\x00\xff");
        out.clear();
        Encoding::Json.encode(&Payload::Json(serde_json::json!({"a": 1})), &mut out).unwrap();
        assert_eq!(out, b"{\"a\":1}");
    }
}
