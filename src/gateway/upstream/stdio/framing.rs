//! A child's standard output in lines. One that is longer than a message may be is not kept, but its ends are: they say
//! which request it would have answered, so that its caller is told.

use std::io;

use bytes::{Buf as _, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::codec::Decoder;

use crate::gateway::relay::Id;

/// As much of each end of an over-long line is kept, in bytes.
const END: usize = 512;

/// One line, without the newline.
#[derive(Debug)]
pub(crate) enum Line {
    /// All of it.
    Whole(BytesMut),
    /// The ends of one that was too long.
    Cut(Ends),
}

/// Both ends of an over-long line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Its beginning.
    head: Vec<u8>,
    /// Its end.
    tail: Vec<u8>,
}

/// Cuts bytes into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The longest line, in bytes.
    limit: usize,
    /// Bytes of the buffer in which there is no newline.
    searched: usize,
    /// The ends of the over-long line that is being dropped.
    dropping: Option<Ends>,
}

/// The end of a message that begins with its identifier.
#[derive(Deserialize)]
struct Tail<'a> {
    /// The identifier.
    #[serde(borrow)]
    id: &'a RawValue,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, searched: 0, dropping: None }
    }
}

impl Decoder for Lines {
    type Item = Line;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        let newline = buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let end = newline.map(|place| self.searched + place);
        self.searched = 0;
        let length = end.unwrap_or(buffer.len());
        if self.dropping.is_some() || length > self.limit {
            let ends = self.dropping.get_or_insert_default();
            ends.add(&buffer[..length]);
            buffer.advance(end.map_or(length, |end| end + 1));
            return Ok(if end.is_some() { self.dropping.take().map(Line::Cut) } else { None });
        }
        if end.is_none() {
            self.searched = length;
            return Ok(None);
        }
        let line = buffer.split_to(length);
        buffer.advance(1);
        Ok(Some(Line::Whole(line)))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Line>> {
        if let Some(line) = self.decode(buffer)? {
            return Ok(Some(line));
        }
        self.searched = 0;
        Ok((!buffer.is_empty()).then(|| Line::Whole(buffer.split())))
    }
}

impl Ends {
    /// Adds what comes next.
    fn add(&mut self, bytes: &[u8]) {
        let room = END.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..room]);
        let bytes = &bytes[bytes.len().saturating_sub(END)..];
        let old = (self.tail.len() + bytes.len()).saturating_sub(END);
        self.tail.drain(..old.min(self.tail.len()));
        self.tail.extend_from_slice(bytes);
    }

    /// The request that the line would have answered: the identifier stands before what is long or after it.
    pub(crate) fn answered(&self) -> Option<u64> {
        let mut rest = std::str::from_utf8(&self.head).unwrap_or_else(|error| {
            std::str::from_utf8(&self.head[..error.valid_up_to()]).expect("it is valid up to there")
        });
        rest = rest.trim_ascii_start().strip_prefix('{')?;
        while let Some((name, value, after)) = member(rest) {
            match name.as_str() {
                "id" => return number(value),
                "method" => return None,
                _ => rest = after,
            }
        }
        self.answered_at_the_end()
    }

    /// The same by the end alone. An identifier before the end of the whole message is the message's.
    fn answered_at_the_end(&self) -> Option<u64> {
        const ID: &[u8] = b"\"id\"";
        let place = self.tail.windows(ID.len()).rposition(|window| window == ID)?;
        let text = [b"{", &self.tail[place..]].concat();
        serde_json::from_slice::<Tail<'_>>(&text).ok().and_then(|tail| number(tail.id.get()))
    }
}

/// The identifier of ours that JSON text means.
fn number(id: &str) -> Option<u64> {
    Id::from_json(id)?.as_number()
}

/// The first member in the text of an object behind its brace, with its comma, if all of it is there.
fn member(text: &str) -> Option<(String, &str, &str)> {
    let mut names = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let name = names.next()?.ok()?;
    let text = text[names.byte_offset()..].trim_ascii_start().strip_prefix(':')?;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let value = values.next()?.ok()?;
    let after = text[values.byte_offset()..].trim_ascii_start().strip_prefix(',')?;
    Some((name, value.get(), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these reads with a limit of ten bytes; over-long lines as the request that they answer.
    fn lines(reads: &[&str]) -> Vec<Result<String, Option<u64>>> {
        let (mut lines, mut buffer, mut all) = (Lines::new(10), BytesMut::new(), Vec::new());
        let mut add = |line| {
            all.push(match line {
                Line::Whole(line) => Ok(String::from_utf8(line.to_vec()).unwrap()),
                Line::Cut(ends) => Err(ends.answered()),
            });
        };
        for read in reads {
            buffer.extend_from_slice(read.as_bytes());
            while let Some(line) = lines.decode(&mut buffer).unwrap() {
                add(line);
            }
        }
        while let Some(line) = lines.decode_eof(&mut buffer).unwrap() {
            add(line);
        }
        all
    }

    #[test]
    fn lines_are_whole_however_they_were_written() {
        let whole = |lines: &[&str]| lines.iter().map(|line| Ok((*line).to_owned())).collect::<Vec<_>>();
        assert_eq!(lines(&["a", "b\nc", "\n\nd\ne"]), whole(&["ab", "c", "", "d", "e"]));
        assert_eq!(lines(&["0123456789\n", "x"]), whole(&["0123456789", "x"]));
    }

    #[test]
    fn an_over_long_line_says_what_it_answers_and_the_next_one_is_whole() {
        let long = "x".repeat(3 * END);
        for (line, answered) in [
            (format!(r#"{{"jsonrpc":"2.0", "id" : 7,"result":"{long}"}}"#), Some(7)),
            (
                format!(r#" {{"result":{{"id":1,"x":"{long}","y":{{"id":2}}}},"jsonrpc":"2.0","id":7}}"#),
                Some(7),
            ),
            (format!(r#"{{"result":["{long}"],"id":7,"jsonrpc":"2.0"}}"#), Some(7)),
            (format!(r#"{{"jsonrpc":"2.0","method":"m","id":7,"params":["{long}"]}}"#), None),
            (format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{"x":"{long}","id":7}}}}"#), None),
            (format!(r#"{{"result":{{"x":"{long}","id":7}}}}"#), None),
            (format!(r#"{{"result":"{long}","id":"7"}}"#), Some(7)),
            (format!(r#"{{"id":7.0,"result":"{long}"}}"#), Some(7)),
            (format!(r#"{{"result":"{long}","id":"07"}}"#), None),
            (format!(r#"{{"ü":"{}"#, "ü".repeat(END)), None),
            (long.clone(), None),
        ] {
            let (first, second) = line.split_at(line.char_indices().nth(20).unwrap().0);
            assert_eq!(lines(&[first, second, "\nnext\n"]), [Err(answered), Ok("next".to_owned())], "{line}");
        }
    }
}
