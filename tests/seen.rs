//! Coverage of schemas by outputs: each field with a value, each alternative, and each word of an enum.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use jsonschema::Validator;
use serde_json::Value;

/// What can be seen in some schemas, and what of it was seen in outputs.
#[derive(Default)]
pub struct Seen {
    schemas: BTreeMap<String, (Value, Validator)>,
    there: BTreeSet<String>,
    shown: BTreeSet<String>,
    fits: BTreeMap<String, Validator>,
}

/// A schema inside another, with a readable path.
struct At<'a> {
    path: String,
    root: &'a Value,
}

impl<'a> At<'a> {
    fn below(&self, name: &str) -> Self {
        Self { path: format!("{}{name}", self.path), root: self.root }
    }

    /// Resolves a reference to a named schema; any other schema is returned as it is.
    fn resolved(self, schema: &'a Value) -> (Self, &'a Value) {
        let Some(name) = schema["$ref"].as_str().and_then(|it| it.strip_prefix("#/$defs/")) else {
            return (self, schema);
        };
        let meant = &self.root["$defs"][name];
        // Another command may have a different schema with the same name.
        let mut hasher = DefaultHasher::new();
        meant.to_string().hash(&mut hasher);
        (Self { path: format!("{name}#{:x}", hasher.finish() % 0xffff), root: self.root }, meant)
    }
}

/// The alternatives of a schema other than null, numbered.
fn forms(schema: &Value) -> impl Iterator<Item = (usize, &Value)> {
    let of = |word: &str| schema[word].as_array().into_iter().flatten();
    of("anyOf").chain(of("oneOf")).enumerate().filter(|(_, form)| form["type"] != "null")
}

/// The name of an alternative: its constant, or its number.
fn form_name(number: usize, form: &Value) -> String {
    match &form["const"] {
        Value::Null => format!("|{number}"),
        word => format!("={word}"),
    }
}

impl Seen {
    /// Validates an output against the schema of its command, and records what it contains.
    pub fn hold(&mut self, command: &str, value: &Value, what: &str) {
        if !self.schemas.contains_key(command) {
            let words: Vec<&str> = command.split(' ').collect();
            let schema = crate::schema::schema_of(&words);
            let validator = jsonschema::validator_for(&schema).expect("the schema compiles");
            let mut there = std::mem::take(&mut self.there);
            list(&At { path: command.to_owned(), root: &schema }, &schema, &mut there, &mut BTreeSet::new());
            self.there = there;
            self.schemas.insert(command.to_owned(), (schema, validator));
        }
        let (schema, validator) = &self.schemas[command];
        let errors: Vec<String> =
            validator.iter_errors(value).map(|it| format!("{}: {it}", it.instance_path())).collect();
        assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
        // A schema that accepts anything would prove nothing: it must reject an unknown field.
        let mut stranger = value.clone();
        stranger["stranger"] = 1.into();
        assert!(!validator.is_valid(&stranger), "{command} takes anything");
        let schema = schema.clone();
        self.see(At { path: command.to_owned(), root: &schema }, &schema, value);
    }

    fn see(&mut self, at: At, schema: &Value, value: &Value) {
        let (at, schema) = at.resolved(schema);
        for (number, form) in forms(schema) {
            let inner = at.below(&form_name(number, form));
            let validator = self.fits.entry(inner.path.clone()).or_insert_with(|| {
                let mut alone = form.clone();
                if let (Value::Object(alone), Some(defs)) = (&mut alone, at.root.get("$defs")) {
                    alone.insert("$defs".to_owned(), defs.clone());
                }
                jsonschema::validator_for(&alone).expect("a form is a schema")
            });
            if validator.is_valid(value) {
                self.shown.insert(inner.path.clone());
                self.see(inner, form, value);
            }
        }
        if schema["enum"].as_array().is_some_and(|words| words.contains(value)) {
            self.shown.insert(format!("{}={value}", at.path));
        }
        for item in value.as_array().into_iter().flatten() {
            if schema["items"].is_object() {
                self.see(at.below("[]"), &schema["items"], item);
            }
        }
        for (name, value) in value.as_object().into_iter().flatten() {
            let known = &schema["properties"][name];
            if known.is_object() && !value.is_null() {
                let inner = at.below(&format!(".{name}"));
                self.shown.insert(inner.path.clone());
                self.see(inner, known, value);
            } else if known.is_null() && schema["additionalProperties"].is_object() {
                self.see(at.below(".*"), &schema["additionalProperties"], value);
            }
        }
    }

    /// Asserts that exactly these were not seen, of all that the schemas contain.
    pub fn assert_all(&self, but: &[&str]) {
        let plain = |path: &str| -> String {
            let (name, rest) = path.split_once('#').unwrap_or((path, ""));
            let hex = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
            format!("{name}{}", &rest[hex..])
        };
        let missing: BTreeSet<String> = self.there.difference(&self.shown).map(|path| plain(path)).collect();
        let expected: BTreeSet<String> = but.iter().map(|&path| path.to_owned()).collect();
        let unseen: Vec<_> = missing.difference(&expected).collect();
        assert!(unseen.is_empty(), "no output shows {unseen:#?}");
        let shown: Vec<_> = expected.difference(&missing).collect();
        assert!(shown.is_empty(), "these are shown, or are no more: {shown:#?}");
    }
}

/// Collects everything that can be seen in a schema.
fn list(at: &At, schema: &Value, there: &mut BTreeSet<String>, known: &mut BTreeSet<String>) {
    let (at, schema) = At { path: at.path.clone(), root: at.root }.resolved(schema);
    if !known.insert(at.path.clone()) {
        return;
    }
    for (number, form) in forms(schema) {
        let inner = at.below(&form_name(number, form));
        there.insert(inner.path.clone());
        list(&inner, form, there, known);
    }
    for word in schema["enum"].as_array().into_iter().flatten().filter(|word| !word.is_null()) {
        there.insert(format!("{}={word}", at.path));
    }
    if schema["items"].is_object() {
        list(&at.below("[]"), &schema["items"], there, known);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let inner = at.below(&format!(".{name}"));
        there.insert(inner.path.clone());
        list(&inner, field, there, known);
    }
    if schema["additionalProperties"].is_object() {
        list(&at.below(".*"), &schema["additionalProperties"], there, known);
    }
}
