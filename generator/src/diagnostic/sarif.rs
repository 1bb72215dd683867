//! Problems in SARIF 2.1.0, the format that code hosts use to annotate the lines of a change.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Value, json};

use super::{Finding, Shown, Spot};
use crate::help;
use crate::place::FieldPath;
use crate::problem::Problem;

impl Shown<'_> {
    /// All problems, findings and warnings as one SARIF log. Lines and columns count from 1; columns are UTF-16 code
    /// units, the default of the standard.
    pub fn sarif(&self, problems: &[Problem], findings: &[Finding], warnings: &[Problem]) -> Value {
        let codes = problems.iter().chain(warnings).map(|problem| problem.kind.code());
        let rules: BTreeSet<&str> = codes.chain(findings.iter().map(|finding| finding.kind)).collect();
        let told = |level, problem: &Problem| {
            let (code, message, hint) = (problem.kind.code(), problem.message(), problem.kind.hint());
            self.result((code, level), lines([message], hint), &problem.at, self.marked_places(problem))
        };
        let finding = |finding: &Finding| {
            let told = [finding.message.clone()].into_iter().chain(finding.notes.clone());
            let message = lines(told, finding.hint.clone());
            self.result(
                (finding.kind, "error"),
                message,
                &finding.at,
                self.places(&finding.at, &finding.with),
            )
        };
        let errors = problems.iter().map(|problem| told("error", problem));
        let warnings = warnings.iter().map(|problem| told("warning", problem));
        let results: Vec<Value> = errors.chain(findings.iter().map(finding)).chain(warnings).collect();
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "nixvol-net",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules.iter().map(|code| rule(code)).collect::<Vec<_>>(),
                } },
                "columnKind": "utf16CodeUnits",
                "results": results,
            }],
        })
    }

    fn result(
        &self,
        (code, level): (&str, &str),
        message: String,
        at: &FieldPath,
        spots: Vec<Spot>,
    ) -> Value {
        let mut result = json!({ "ruleId": code, "level": level, "message": { "text": message } });
        let logical = at.option().map(|option| json!([{ "fullyQualifiedName": option }]));
        let mut spots = spots.into_iter();
        let first = self.spot(at).and_then(|_| spots.next());
        let mut location = json!({});
        if let Some(spot) = first {
            location["physicalLocation"] = physical(&spot);
        }
        if let Some(logical) = logical {
            location["logicalLocations"] = logical;
        }
        if location != json!({}) {
            result["locations"] = json!([location]);
        }
        let related = |spot: Spot| json!({ "physicalLocation": physical(&spot), "message": { "text": format!("{} takes part", spot.what) } });
        let related: Vec<Value> = spots.map(related).collect();
        if !related.is_empty() {
            result["relatedLocations"] = json!(related);
        }
        result
    }
}

/// The SARIF rule of a kind of problem: its title and its help page, which code hosts show with a result.
fn rule(code: &str) -> Value {
    let Some(page) = help::page(code) else {
        return json!({
            "id": code,
            "shortDescription": { "text": "an expectation that does not hold" },
            "help": { "text": "An expectation (`expect`) says what must, or must never, get through, whatever the links say." },
        });
    };
    json!({
        "id": code,
        "shortDescription": { "text": page.title() },
        "help": { "text": page.text(), "markdown": page.markdown() },
    })
}

fn lines(told: impl IntoIterator<Item = String>, hint: Option<String>) -> String {
    let hint = hint.map(|hint| format!("hint: {hint}"));
    told.into_iter().chain(hint).collect::<Vec<_>>().join("\n")
}

fn physical(spot: &Spot) -> Value {
    let mut physical = json!({ "artifactLocation": { "uri": uri(&spot.place.file) } });
    if let Some((text, range)) = &spot.source {
        physical["region"] = region(text, range);
    } else if spot.place.line > 0 {
        physical["region"] = json!({ "startLine": spot.place.line, "startColumn": spot.place.column });
    }
    physical
}

fn region(text: &str, range: &Range<usize>) -> Value {
    let at = |byte: usize| {
        let start = text[..byte].rfind('\n').map_or(0, |newline| newline + 1);
        (text[..start].matches('\n').count() + 1, text[start..byte].encode_utf16().count() + 1)
    };
    let ((start_line, start_column), (end_line, end_column)) = (at(range.start), at(range.end));
    json!({ "startLine": start_line, "startColumn": start_column, "endLine": end_line, "endColumn": end_column })
}

/// A path as a URI reference. Relative paths stay relative, to the root of the repository.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let escaped: String = path
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    if path.starts_with('/') { format!("file://{escaped}") } else { escaped }
}
