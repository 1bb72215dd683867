//! The parser's cursor: peeks at, consumes and expects tokens, and reports errors.
//!
//! It exists so that the rest of the parser reads like a grammar. Sees: token. Never: what a token is for.

use super::{Failed, Parsed, Parser};
use crate::pf::token::Kind;

impl Parser<'_> {
    pub(super) fn peek(&mut self) -> &Kind {
        if self.ahead.is_none() {
            self.ahead = Some(self.lexer.next());
            if !self.lexer.complaints.is_empty() {
                self.errors.append(&mut self.lexer.complaints);
            }
        }
        self.ahead.as_ref().expect("just read")
    }

    pub(super) fn next(&mut self) -> Kind {
        self.peek();
        self.quiet = self.quiet.saturating_sub(1);
        self.ahead.take().unwrap_or(Kind::End)
    }

    pub(super) fn at_key(&mut self, key: &str) -> bool {
        matches!(self.peek(), Kind::Key(found) if *found == key)
    }

    pub(super) fn at_char(&mut self, wanted: char) -> bool {
        matches!(self.peek(), Kind::Char(found) if *found == wanted)
    }

    pub(super) fn eat_key(&mut self, key: &str) -> bool {
        let found = self.at_key(key);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn eat_char(&mut self, wanted: char) -> bool {
        let found = self.at_char(wanted);
        if found {
            self.next();
        }
        found
    }

    pub(super) fn expect_key(&mut self, key: &str) -> Parsed<()> {
        if self.eat_key(key) { Ok(()) } else { self.unexpected() }
    }

    pub(super) fn expect_char(&mut self, wanted: char) -> Parsed<()> {
        if self.eat_char(wanted) { Ok(()) } else { self.unexpected() }
    }

    pub(super) fn at_word(&mut self) -> bool {
        matches!(self.peek(), Kind::Word(_))
    }

    pub(super) fn word(&mut self) -> Parsed<String> {
        if !self.at_word() {
            return self.unexpected();
        }
        match self.next() {
            Kind::Word(word) => Ok(word),
            _ => Err(Failed),
        }
    }

    pub(super) fn number(&mut self) -> Parsed<i64> {
        match *self.peek() {
            Kind::Number(number) => {
                self.next();
                Ok(number)
            }
            _ => self.unexpected(),
        }
    }

    /// Consecutive words, joined by spaces.
    pub(super) fn words(&mut self) -> Parsed<String> {
        let mut words = self.word()?;
        while self.at_word() {
            words.push(' ');
            words.push_str(&self.word()?);
        }
        Ok(words)
    }

    // Errors.

    /// Reports that the next token does not belong here.
    pub(super) fn unexpected<T>(&mut self) -> Parsed<T> {
        if self.at_char('\r') {
            return self.carriage_return();
        }
        let what = match self.peek() {
            Kind::Word(word) => format!("`{word}`"),
            Kind::Key(word) | Kind::PortOperator(word) => format!("`{word}`"),
            Kind::Number(number) => format!("`{number}`"),
            Kind::Arrow => "`->`".to_owned(),
            Kind::Char(found) if !found.is_ascii() => "character that is not ASCII".to_owned(),
            Kind::Char(found) => format!("`{found}`"),
            Kind::Newline => "end of line".to_owned(),
            Kind::End => "end of file (the last line needs its line break)".to_owned(),
            Kind::Bad => return Err(Failed),
        };
        if self.quiet == 0 {
            self.errors.push((self.lexer.place, format!("syntax error: unexpected {what}")));
        }
        Err(Failed)
    }

    /// A rule is evaluated only if its line ends here.
    pub(super) fn rule_ends(&mut self) -> Parsed<()> {
        if *self.peek() == Kind::Newline { Ok(()) } else { self.unexpected() }
    }

    /// Records an error at the last token, and continues.
    pub(in crate::pf) fn complain(&mut self, message: impl Into<String>) {
        let mut place = self.lexer.place;
        if place.line == self.start.line && place.file == self.start.file {
            place.column = place.column.min(self.start.column);
        }
        self.errors.push((place, message.into()));
    }

    pub(super) fn fail<T>(&mut self, message: impl Into<String>) -> Parsed<T> {
        self.errors.push((self.lexer.place, message.into()));
        Err(Failed)
    }
}
