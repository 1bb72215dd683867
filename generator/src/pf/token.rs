//! The lexer: bytes in, tokens with positions out, one at a time.
//!
//! It exists because tokens depend on what was read before: a macro is expanded as text, a backslash continues a line
//! or a comment, `include` opens another file. So the parser pulls tokens. Sees: syntax (for places). Never: what a
//! word means.

use std::collections::HashMap;
use std::rc::Rc;

use super::syntax::Position;

/// Longest word or quoted string.
const LONGEST_WORD: usize = 8094;

/// Most files open at once: an `include` of itself ends here.
const DEEPEST_INCLUDE: usize = 16;

/// Most bytes that macros may expand to: a macro can contain itself twice, line after line.
const MOST_EXPANDED: usize = 1 << 26;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A word that is not a keyword, or anything in quotes.
    Word(String),
    /// A keyword of the grammar.
    Key(&'static str),
    /// A number.
    Number(i64),
    /// `><` or `<>`.
    PortOperator(&'static str),
    /// `->`.
    Arrow,
    /// Any other character.
    Char(char),
    /// The end of a line.
    Newline,
    /// Not a valid token; the error has been recorded.
    Bad,
    /// The end of the input.
    End,
}

/// An open file.
struct Source {
    text: Rc<[u8]>,
    at: usize,
    file: u32,
    line: u32,
    line_start: usize,
    /// Input that was pending before the rest of this file when another file was opened.
    waiting: (Vec<Byte>, Option<Expansion>),
}

/// The value of a macro, and how many of its bytes have been read.
type Expansion = (Rc<[u8]>, usize);

/// A byte and its offset in the file; 0 for bytes from a macro.
#[derive(Clone, Copy)]
struct Byte {
    value: u8,
    offset: usize,
}

pub(super) struct Lexer {
    sources: Vec<Source>,
    pushed_back: Vec<Byte>,
    expansion: Option<Expansion>,
    /// Number of bytes that macros have expanded to so far.
    expanded: usize,
    macros: HashMap<String, (Rc<[u8]>, bool)>,
    /// Where the last token begins.
    pub place: Position,
    /// Errors of the lexer, which the parser collects.
    pub complaints: Vec<(Position, String)>,
}

/// All keywords, sorted.
#[rustfmt::skip]
static KEYWORDS: &[&str] = &[
    "all", "allow-opts", "altq", "anchor", "antispoof", "any", "bandwidth", "binat", "binat-anchor", "bitmask",
    "block", "block-policy", "cbq", "code", "crop", "debug", "divert-reply", "divert-to", "drop", "drop-ovl",
    "dummynet", "dummynet-anchor", "dup-to", "extfilter", "extmap", "fastroute", "file", "fingerprints", "flags",
    "floating", "flush", "for", "fragment", "from", "global", "group", "hfsc", "hostid", "icmp-type", "icmp6-type",
    "if-bound", "in", "include", "inet", "inet6", "keep", "label", "limit", "linkshare", "load", "log",
    "loginterface", "max", "max-mss", "max-src-conn", "max-src-conn-rate", "max-src-nodes", "max-src-states",
    "min-ttl", "modulate", "nat", "nat-anchor", "no", "no-df", "no-route", "no-sync", "on", "optimization", "os",
    "out", "overload", "pass", "pipe", "port", "priority", "priq", "probability", "proto", "qlimit", "queue",
    "quick", "random", "random-id", "rdr", "rdr-anchor", "realtime", "reassemble", "reply-to", "require-order",
    "return", "return-icmp", "return-icmp6", "return-rst", "round-robin", "route", "route-to", "rtable", "rule",
    "ruleset-optimization", "scrub", "scrub-anchor", "set", "set-tos", "skip", "sloppy", "source-hash",
    "source-track", "state", "state-policy", "static-port", "sticky-address", "synproxy", "table", "tag", "tagged",
    "tbrsize", "timeout", "to", "tos", "ttl", "upperlimit", "urpf-failed", "user",
];

/// The keyword equal to `word`, if any.
pub(super) fn keyword(word: &str) -> Option<&'static str> {
    // Few begin with the same letter, and of those few have the same length: most words are compared with none.
    let first = *word.as_bytes().first()?;
    let begin = KEYWORDS.partition_point(|known| known.as_bytes()[0] < first);
    let alike = KEYWORDS[begin..].iter().take_while(|known| known.as_bytes()[0] == first);
    alike.copied().find(|known| *known == word)
}

fn ends_number(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b || matches!(byte, b')' | b',' | b'/' | b'}' | b'=')
}

pub(super) fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b':' || byte == b'_'
}

pub(super) fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || (byte.is_ascii_punctuation()
            && !matches!(byte, b'(' | b')' | b'{' | b'}' | b'<' | b'>' | b'!' | b'=' | b'/' | b'#' | b','))
}

impl Lexer {
    pub(super) fn new(text: &str) -> Self {
        let mut lexer = Self {
            sources: Vec::new(),
            pushed_back: Vec::new(),
            expansion: None,
            expanded: 0,
            macros: HashMap::new(),
            place: Position { file: 0, line: 1, column: 1 },
            complaints: Vec::new(),
        };
        lexer.open(text, 0);
        lexer
    }

    /// Reads `text` before the rest of the current file. False if too many files are open.
    pub(super) fn open(&mut self, text: &str, file: u32) -> bool {
        if self.sources.len() >= DEEPEST_INCLUDE {
            return false;
        }
        let waiting = (std::mem::take(&mut self.pushed_back), self.expansion.take());
        if let Some(outer) = self.sources.last_mut() {
            outer.waiting = waiting;
        }
        self.sources.push(Source {
            text: text.as_bytes().into(),
            at: 0,
            file,
            line: 1,
            line_start: 0,
            waiting: (Vec::new(), None),
        });
        true
    }

    /// Defines a macro, unless it has an external definition.
    pub(super) fn define(&mut self, name: &str, value: &str, from_outside: bool) {
        if self.macros.get(name).is_none_or(|(_, fixed)| !fixed) {
            self.macros.insert(name.to_owned(), (value.as_bytes().into(), from_outside));
        }
    }

    fn source(&mut self) -> &mut Source {
        self.sources.last_mut().expect("one source is always open")
    }

    fn raw(&mut self) -> Option<Byte> {
        let source = self.source();
        let value = *source.text.get(source.at)?;
        source.at += 1;
        Some(Byte { value, offset: source.at - 1 })
    }

    fn next_line(&mut self, start: usize) {
        let source = self.source();
        source.line += 1;
        source.line_start = start;
    }

    /// The next byte that is pending before the file: from a macro expansion, or pushed back.
    fn waiting(&mut self) -> Option<Byte> {
        if let Some((value, at)) = &mut self.expansion {
            if let Some(&byte) = value.get(*at) {
                *at += 1;
                return Some(Byte { value: byte, offset: 0 });
            }
            self.expansion = None;
        }
        self.pushed_back.pop()
    }

    /// The next byte outside quotes; a backslash joins lines, and is dropped before other bytes.
    fn get(&mut self) -> Option<Byte> {
        if let Some(byte) = self.waiting() {
            return Some(byte);
        }
        loop {
            let Some(byte) = self.raw() else {
                if self.sources.len() == 1 {
                    return None;
                }
                self.sources.pop();
                (self.pushed_back, self.expansion) = std::mem::take(&mut self.source().waiting);
                return self.get();
            };
            if byte.value != b'\\' {
                return Some(byte);
            }
            match self.raw() {
                Some(next) if next.value == b'\n' => self.next_line(next.offset + 1),
                other => return other,
            }
        }
    }

    /// Takes bytes of the file while they fulfil a condition, up to a backslash. `None` if input is pending before
    /// the file, which must be read byte by byte.
    fn run(&mut self, wanted: impl Fn(u8) -> bool) -> Option<&[u8]> {
        if self.expansion.is_some() || !self.pushed_back.is_empty() {
            return None;
        }
        let source = self.source();
        let rest = source.text.get(source.at..)?;
        let length = rest.iter().take_while(|byte| **byte != b'\\' && wanted(**byte)).count();
        source.at += length;
        Some(&rest[..length])
    }

    /// Takes a word that is whole in the file, its first byte taken: what ends it is neither the end of the file, where
    /// another may continue the word, nor a backslash.
    fn whole_word(&mut self, first: Byte) -> Option<&str> {
        if self.expansion.is_some() || !self.pushed_back.is_empty() {
            return None;
        }
        let source = self.source();
        let (before, rest) = (source.text.get(first.offset..source.at)?, source.text.get(source.at..)?);
        let length = rest.iter().position(|byte| !in_word(*byte))?;
        let word = source.text.get(first.offset..source.at + length)?;
        let is_whole = before == [first.value] && length < LONGEST_WORD && !word.contains(&b'\\');
        let word = std::str::from_utf8(word).ok().filter(|_| is_whole)?;
        source.at += length;
        Some(word)
    }

    fn unget(&mut self, byte: Option<Byte>) {
        let Some(byte) = byte else { return };
        if let Some((_, at)) = &mut self.expansion
            && *at > 0
        {
            *at -= 1;
            return;
        }
        self.pushed_back.push(byte);
    }

    fn complain(&mut self, message: String) {
        self.complaints.push((self.place, message));
    }

    /// After an error of the lexer the rest of the line and the pending input are discarded, as in pfctl, whose
    /// parser then discards the next line in its own recovery.
    fn skip_line(&mut self) -> Kind {
        self.expansion = None;
        if let Some(newline) = self.pushed_back.iter().find(|byte| byte.value == b'\n').copied() {
            self.next_line(newline.offset + 1);
        }
        self.pushed_back.clear();
        while let Some(byte) = self.get() {
            if byte.value == b'\n' {
                self.next_line(byte.offset + 1);
                break;
            }
        }
        Kind::Bad
    }

    fn mark(&mut self, byte: Option<Byte>, in_expansion: bool) {
        if in_expansion {
            return;
        }
        let source = self.source();
        let offset = byte.map_or(source.at, |byte| byte.offset);
        let column = u32::try_from(offset.saturating_sub(source.line_start)).unwrap_or(u32::MAX - 1) + 1;
        self.place = Position { file: source.file, line: source.line, column };
    }

    /// The next token; [`Self::place`] is where it begins.
    pub(super) fn next(&mut self) -> Kind {
        loop {
            self.run(|byte| matches!(byte, b' ' | b'\t'));
            let mut byte = self.get();
            while byte.is_some_and(|byte| matches!(byte.value, b' ' | b'\t')) {
                byte = self.get();
            }
            let expanding = self.expansion.is_some();
            self.mark(byte, expanding);
            if byte.is_some_and(|byte| byte.value == b'#') {
                while byte.is_some_and(|byte| byte.value != b'\n') {
                    self.run(|byte| byte != b'\n');
                    byte = self.get();
                }
                self.mark(byte, false);
            }
            let Some(first) = byte else { return Kind::End };
            if first.value != b'$' || expanding {
                return self.token(first);
            }
            match self.expand() {
                Ok(true) => {}
                Ok(false) => return Kind::End,
                Err(bad) => return bad,
            }
        }
    }

    /// Expands the macro whose name follows. False at the end of the input.
    fn expand(&mut self) -> Result<bool, Kind> {
        let mut name = String::new();
        loop {
            let Some(byte) = self.get() else { return Ok(false) };
            if !byte.value.is_ascii_alphanumeric() && byte.value != b'_' {
                self.unget(Some(byte));
                break;
            }
            if name.len() >= LONGEST_WORD {
                self.complain("string too long".to_owned());
                return Err(self.skip_line());
            }
            name.push(char::from(byte.value));
        }
        if let Some((value, _)) = self.macros.get(&name) {
            self.expanded += value.len();
            if self.expanded > MOST_EXPANDED {
                self.complain(format!("the macros stand for more than {MOST_EXPANDED} bytes"));
                // What follows is not read: an error of the parser about the end would only hide this one.
                self.sources.truncate(1);
                self.source().at = usize::MAX;
                self.pushed_back.clear();
                return Err(Kind::Bad);
            }
            self.expansion = Some((Rc::clone(value), 0));
            Ok(true)
        } else {
            self.complain(format!("macro `{name}` not defined"));
            Err(self.skip_line())
        }
    }

    fn token(&mut self, first: Byte) -> Kind {
        match first.value {
            b'"' | b'\'' => return self.quoted(first.value),
            b'<' if self.follows(b'>') => return Kind::PortOperator("<>"),
            b'>' if self.follows(b'<') => return Kind::PortOperator("><"),
            b'-' if self.follows(b'>') => return Kind::Arrow,
            _ => {}
        }
        if (first.value == b'-' || first.value.is_ascii_digit())
            && let Some(number) = self.number(first)
        {
            return number;
        }
        if begins_word(first.value) {
            return self.word(first);
        }
        if first.value == b'\n' {
            self.next_line(first.offset + 1);
            return Kind::Newline;
        }
        if first.value == 0 {
            return Kind::End;
        }
        Kind::Char(char::from(first.value))
    }

    fn follows(&mut self, wanted: u8) -> bool {
        let next = self.get();
        if next.is_some_and(|byte| byte.value == wanted) {
            return true;
        }
        self.unget(next);
        false
    }

    fn quoted(&mut self, quote: u8) -> Kind {
        let mut text = Vec::new();
        loop {
            let Some(byte) = self.waiting().or_else(|| self.raw()) else {
                self.complain("reached end of file while parsing quoted string".to_owned());
                return Kind::End;
            };
            let mut value = byte.value;
            if value == b'\n' {
                self.next_line(byte.offset + 1);
                continue;
            }
            if value == b'\\' {
                let next = self.waiting().or_else(|| self.raw());
                match next {
                    Some(next) if next.value == quote => value = quote,
                    Some(next) if next.value == b'\n' => {
                        self.next_line(next.offset + 1);
                        continue;
                    }
                    next => self.unget(next),
                }
            } else if value == quote {
                return self.finish_word(text);
            }
            if text.len() >= LONGEST_WORD {
                self.complain("string too long".to_owned());
                return self.skip_line();
            }
            text.push(value);
        }
    }

    /// A word may not end in a backslash: it could not be printed.
    fn finish_word(&mut self, text: Vec<u8>) -> Kind {
        if text.last() == Some(&b'\\') {
            self.complain("a word cannot end in a backslash".to_owned());
            return Kind::Bad;
        }
        Kind::Word(
            String::from_utf8(text)
                .unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned()),
        )
    }

    /// A number; otherwise nothing is consumed: `10.0.0.1` and `22:25` are words.
    fn number(&mut self, first: Byte) -> Option<Kind> {
        if first.value != b'-' && self.is_more_than_digits() {
            return None;
        }
        if let Some(number) = self.whole_number(first) {
            return Some(Kind::Number(number));
        }
        let mut digits = vec![first];
        let mut next = self.get();
        while let Some(byte) = next.filter(|byte| byte.value.is_ascii_digit()) {
            if digits.len() >= LONGEST_WORD {
                self.complain("string too long".to_owned());
                return Some(self.skip_line());
            }
            digits.push(byte);
            next = self.get();
        }
        self.unget(next);
        let bare_sign = digits.len() == 1 && first.value == b'-';
        if !bare_sign && next.is_none_or(|byte| ends_number(byte.value)) {
            let text: String = digits.iter().map(|byte| char::from(byte.value)).collect();
            return Some(if let Ok(number) = text.parse() {
                Kind::Number(number)
            } else {
                self.complain(format!("`{text}` is not a number that can be"));
                self.skip_line()
            });
        }
        for &byte in digits[1..].iter().rev() {
            self.unget(Some(byte));
        }
        (first.value == b'-').then_some(Kind::Char('-'))
    }

    /// Takes a number that is whole in the file, its first digit taken.
    fn whole_number(&mut self, first: Byte) -> Option<i64> {
        if self.expansion.is_some() || !self.pushed_back.is_empty() {
            return None;
        }
        let source = self.source();
        let (before, rest) = (source.text.get(first.offset..source.at)?, source.text.get(source.at..)?);
        let length = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let is_whole = before == [first.value] && first.value != b'-' && ends_number(rest[length]);
        let digits = source.text.get(first.offset..source.at + length).filter(|_| is_whole)?;
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        source.at += length;
        Some(number)
    }

    /// Whether digits go on as a word, as far as that is seen without taking them.
    fn is_more_than_digits(&mut self) -> bool {
        if self.expansion.is_some() || !self.pushed_back.is_empty() {
            return false;
        }
        let source = self.source();
        let rest = source.text.get(source.at..).unwrap_or_default();
        let behind = rest.iter().take(LONGEST_WORD).find(|byte| !byte.is_ascii_digit());
        behind.is_some_and(|byte| *byte != b'\\' && !ends_number(*byte))
    }

    fn word(&mut self, first: Byte) -> Kind {
        let is_letter = first.value.is_ascii_alphabetic();
        if let Some(word) = self.whole_word(first) {
            let key = is_letter.then(|| keyword(word)).flatten();
            return key.map_or_else(|| Kind::Word(word.to_owned()), Kind::Key);
        }
        let mut text = vec![first.value];
        loop {
            if let Some(run) = self.run(in_word) {
                text.extend_from_slice(run);
                if text.len() > LONGEST_WORD + 1 {
                    self.complain("string too long".to_owned());
                    return self.skip_line();
                }
            }
            let next = self.get();
            if !next.is_some_and(|byte| in_word(byte.value)) {
                self.unget(next);
                break;
            }
            if text.len() > LONGEST_WORD {
                self.complain("string too long".to_owned());
                return self.skip_line();
            }
            text.extend(next.map(|byte| byte.value));
        }
        let key = std::str::from_utf8(&text).ok().filter(|_| is_letter).and_then(keyword);
        key.map_or_else(|| self.finish_word(text), Kind::Key)
    }
}
