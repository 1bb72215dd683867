//! The parser: the ruleset that pfctl would load, or all errors at once.
//!
//! It exists because verdicts must be proven from the bytes that will be loaded. It rejects the lines that pfctl
//! rejects, which takes three properties of pfctl's yacc parser: an error skips to the next line break; a syntax
//! error fewer than three tokens after another is not reported; and a rule is checked once the token after it has
//! been read, so its errors are on that token's line. Sees: token, host, expand, environment, syntax. Never: a disk,
//! a kernel, the rest of this project.

mod anchor;
mod binat;
mod capture;
mod cursor;
mod filter;
mod hosts;
mod matcher;
mod numbers;
mod option;
mod options;
mod scrub;
mod state;
mod table;
mod translate;

use std::fmt;

use super::environment::Environment;
use super::expand::{Draft, expand};
use super::names::Names;
use super::syntax::{
    Action, BlockPolicy, LoadAnchor, Note, Position, Rule, Ruleset, Setting, SettingValue, StatePolicy,
};
use super::token::{Kind, Lexer};

pub use super::expand::MOST_RULES;

pub(super) use filter::parse_probability;
pub(super) use translate::NAT_PORTS;

/// Most files that an input may include; longest value of a macro in bytes.
const MOST_FILES: usize = 1000;
const LONGEST_MACRO: usize = 1 << 18;

/// Deepest nesting of braces, of lists and anchors.
const DEEPEST: usize = 64;

/// An error in the input: something that pfctl rejects, or a limit of this parser.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ParseError {
    /// The included or loaded file; `None` for the input itself.
    pub file: Option<String>,
    /// The line, from 1, as pfctl reports it.
    pub line: u32,
    /// The column in bytes, from 1.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ParseError {
    /// `LINE:COLUMN: message`; the caller prepends the file name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Parses a ruleset.
///
/// `text` is the content of the file; `environment` resolves the names in it. The result is the ruleset, or all
/// errors, sorted by position.
///
/// ```
/// use nixvol_net::pf::{Environment, Names, parse, print};
/// let ruleset = parse("pass in proto tcp to port { 22, 80 }\n", &Environment::default()).unwrap();
/// assert_eq!(ruleset.rules.filter.len(), 2);
/// let printed = print(&ruleset, Names::MacOs);
/// assert!(printed.starts_with("pass in proto tcp from any to any port = 22 flags S/SA keep state\n"));
/// let errors = parse("pass\npass to port 22\n", &Environment::default()).unwrap_err();
/// assert_eq!(errors[0].line, 2);
/// ```
pub fn parse(text: &str, environment: &Environment) -> Result<Ruleset, Vec<ParseError>> {
    parse_at(text, environment, "")
}

fn parse_at(text: &str, environment: &Environment, anchor: &str) -> Result<Ruleset, Vec<ParseError>> {
    let mut parser = Parser::new(text, environment, anchor);
    parser.ruleset();
    parser.load_anchors();
    parser.finish()
}

/// The error has been recorded; the caller only recovers from it.
#[derive(Debug)]
pub(super) struct Failed;

pub(super) type Parsed<T> = Result<T, Failed>;

/// The sections of a file, in their required order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    None,
    Options,
    Normalization,
    Translation,
    Filtering,
}

/// A ruleset under construction: the file's own, or one in braces.
#[derive(Default)]
pub(super) struct Frame {
    pub ruleset: Ruleset,
    /// The value of `$nr`: number of rules so far, in all lists.
    pub matched: u32,
    /// Names of anchors that have had rules in braces.
    inline: Vec<String>,
}

impl Frame {
    fn add(&mut self, mut rule: Rule) {
        self.matched += 1;
        let rules = &mut self.ruleset.rules;
        let list = match rule.action {
            Action::Pass | Action::Block(_) => &mut rules.filter,
            Action::Scrub | Action::NoScrub => &mut rules.scrub,
            Action::Nat | Action::NoNat => &mut rules.nat,
            Action::Rdr | Action::NoRdr => &mut rules.rdr,
            Action::Binat | Action::NoBinat => &mut rules.binat,
            Action::Dummynet | Action::NoDummynet => &mut rules.dummynet,
        };
        rule.number = u32::try_from(list.len()).unwrap_or(u32::MAX);
        list.push(rule);
    }
}

pub(super) struct Parser<'e> {
    lexer: Lexer,
    environment: &'e Environment,
    /// The path of the anchor that is parsed; empty for the main ruleset.
    anchor: &'e str,
    ahead: Option<Kind>,
    /// Number of tokens to consume before a syntax error is reported again.
    quiet: u8,
    errors: Vec<(Position, String)>,
    foreign_errors: Vec<ParseError>,
    /// If the input is not meant for pfctl at all: number of errors up to the one that says so.
    given_up: Option<usize>,
    notes: Vec<Note>,
    files: Vec<String>,
    /// Where the current statement begins.
    pub(super) start: Position,
    section: Section,
    require_order: bool,
    block_policy: BlockPolicy,
    state_policy: StatePolicy,
    settings: Vec<Setting>,
    loads: Vec<LoadAnchor>,
    pub(super) frames: Vec<Frame>,
    unnamed: u32,
    depth: usize,
    pub(super) rules: usize,
}

impl<'e> Parser<'e> {
    fn new(text: &str, environment: &'e Environment, anchor: &'e str) -> Self {
        let mut lexer = Lexer::new(text);
        for (name, value) in &environment.macros {
            lexer.define(name, value, true);
        }
        Self {
            lexer,
            environment,
            anchor,
            ahead: None,
            quiet: 0,
            errors: Vec::new(),
            foreign_errors: Vec::new(),
            given_up: None,
            notes: Vec::new(),
            files: vec![String::new()],
            start: Position::default(),
            section: Section::None,
            require_order: true,
            block_policy: BlockPolicy::Drop,
            state_policy: StatePolicy::Floating,
            settings: Vec::new(),
            loads: Vec::new(),
            frames: vec![Frame::default()],
            unnamed: 0,
            depth: 0,
            rules: 0,
        }
    }

    fn finish(mut self) -> Result<Ruleset, Vec<ParseError>> {
        let mut errors = self.foreign_errors;
        self.errors.truncate(self.given_up.unwrap_or(usize::MAX));
        for (place, message) in self.errors {
            let file = self.files.get(place.file as usize).filter(|name| !name.is_empty()).cloned();
            errors.push(ParseError { file, line: place.line, column: place.column, message });
        }
        if !errors.is_empty() {
            errors.sort();
            errors.dedup();
            return Err(errors);
        }
        let mut ruleset = self.frames.swap_remove(0).ruleset;
        ruleset.files = self.files;
        ruleset.settings = self.settings;
        ruleset.loads = self.loads;
        ruleset.notes = self.notes;
        Ok(ruleset)
    }

    fn recover(&mut self) {
        self.quiet = 3;
        self.depth = 0;
        self.frames.truncate(1);
        while !matches!(self.peek(), Kind::Newline | Kind::End) {
            self.ahead = None;
        }
        if *self.peek() == Kind::Newline {
            self.next();
        }
    }

    // The file as a whole.

    fn ruleset(&mut self) {
        while *self.peek() != Kind::End && self.given_up.is_none() {
            if self.eat_newline() {
                continue;
            }
            let parsed = self.statement().and_then(|()| self.end_of_line());
            if parsed.is_err() {
                self.recover();
            }
        }
    }

    pub(super) fn eat_newline(&mut self) -> bool {
        let found = *self.peek() == Kind::Newline;
        if found {
            self.next();
        }
        found
    }

    pub(super) fn eat_newlines(&mut self) {
        while self.eat_newline() {}
    }

    fn end_of_line(&mut self) -> Parsed<()> {
        if self.eat_newline() { Ok(()) } else { self.unexpected() }
    }

    fn statement(&mut self) -> Parsed<()> {
        self.peek();
        self.start = self.lexer.place;
        self.printed_by_pfctl()?;
        let Kind::Key(key) = *self.peek() else {
            return if self.at_word() { self.macro_definition() } else { self.unexpected() };
        };
        match key {
            "include" => self.include(),
            "set" => self.option(),
            "table" => self.table(),
            "load" => self.load_anchor(),
            "antispoof" => self.antispoof(),
            "altq" | "queue" => self.fail("queueing (altq) does not exist on macOS"),
            "no" => {
                self.next();
                self.negated()
            }
            _ => self.rule(key, false),
        }
    }

    fn negated(&mut self) -> Parsed<()> {
        match *self.peek() {
            Kind::Key(key @ ("scrub" | "nat" | "rdr" | "binat" | "dummynet")) => self.rule(key, true),
            _ => self.unexpected(),
        }
    }

    fn rule(&mut self, key: &'static str, no: bool) -> Parsed<()> {
        match key {
            "scrub" => self.scrub(no),
            "nat" | "rdr" => self.translation(no),
            "binat" => self.binat(no),
            "dummynet" => self.dummynet(no),
            "pass" | "block" => self.filter(),
            "anchor" | "nat-anchor" | "rdr-anchor" | "binat-anchor" | "scrub-anchor" | "dummynet-anchor" => {
                self.anchor_rule()
            }
            _ => self.unexpected(),
        }
    }

    fn macro_definition(&mut self) -> Parsed<()> {
        let name = self.word()?;
        self.heading(&name)?;
        self.expect_char('=')?;
        let mut value = self.number_or_word()?;
        while matches!(self.peek(), Kind::Word(_) | Kind::Number(_)) {
            value.push(' ');
            value.push_str(&self.number_or_word()?);
        }
        if value.len() > LONGEST_MACRO {
            return self.fail(format!("macro `{name}` is longer than {LONGEST_MACRO} bytes"));
        }
        self.lexer.define(&name, &value, false);
        self.set(SettingValue::Macro { name, value });
        Ok(())
    }

    pub(super) fn number_or_word(&mut self) -> Parsed<String> {
        match *self.peek() {
            Kind::Number(number) => {
                self.next();
                Ok(number.to_string())
            }
            _ => self.word(),
        }
    }

    pub(super) fn set(&mut self, value: SettingValue) {
        self.settings.push(Setting { place: self.start, value });
    }

    fn include(&mut self) -> Parsed<()> {
        self.next();
        let name = self.word()?;
        let text = match self.read(&name) {
            Ok(text) => text,
            Err(reason) => return self.fail(format!("failed to include file `{name}`: {reason}")),
        };
        let file = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        // The rest of this line is parsed after the end of the other file.
        if self.files.len() > MOST_FILES || !self.lexer.open(&text, file) {
            return self.fail(format!("failed to include file `{name}`: too many files are open"));
        }
        self.files.push(name);
        // The caller expects a line break after the statement.
        self.ahead = Some(Kind::Newline);
        Ok(())
    }

    /// Records a remark that is not an error.
    pub(super) fn note(&mut self, place: Position, message: String) {
        self.notes.push(Note { place, message });
    }

    pub(super) fn read(&self, name: &str) -> Result<String, String> {
        match &self.environment.reader {
            Some(reader) => reader(name),
            None => Err("no other file can be read here".to_owned()),
        }
    }

    // Sections and rules.

    pub(super) fn in_options(&mut self) -> Parsed<()> {
        self.section(Section::Options)
    }

    fn section(&mut self, wanted: Section) -> Parsed<()> {
        if self.require_order && self.section > wanted {
            let order = "Rules must be in order: options, normalization, queueing, translation, filtering";
            if wanted == Section::Normalization && self.section == Section::Translation {
                return self.fail(format!(
                    "{order} (`pfctl -s rules` prints scrub behind what `pfctl -s nat` prints: put \
                     `set require-order no` in front of the two)"
                ));
            }
            return self.fail(order);
        }
        self.section = wanted;
        Ok(())
    }

    pub(super) fn names(&self) -> Names {
        self.environment.names
    }

    /// Adds all rules that a draft expands to.
    pub(super) fn add(&mut self, draft: &Draft) {
        let start = self.start;
        let used = self.rules;
        let expansion = expand(draft, self.names(), self.frame().matched, used);
        self.rules += expansion.work;
        for mut rule in expansion.rules {
            rule.place = start;
            self.frame().add(rule);
        }
        for error in expansion.errors {
            self.complain(error);
        }
    }

    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the file's own frame is always there")
    }

    /// Enters a brace; an error if the nesting is too deep.
    pub(super) fn descend(&mut self) -> Parsed<()> {
        if self.depth >= DEEPEST {
            return self.fail(format!("braces nested more than {DEEPEST} deep"));
        }
        self.depth += 1;
        Ok(())
    }

    pub(super) fn ascend(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// One item, or several between braces: `{ a, b c }`.
    pub(super) fn list<T>(&mut self, item: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        if !self.eat_char('{') {
            return Ok(vec![item(self)?]);
        }
        self.eat_newlines();
        self.rest_of_list(item)
    }

    /// The rest of a list after its opening brace and line breaks.
    pub(super) fn rest_of_list<T>(&mut self, item: impl Fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        loop {
            self.eat_newlines();
            if self.eat_char('}') {
                return Ok(items);
            }
            self.eat_char(',');
            items.push(item(self)?);
        }
    }
}
