//! Problems in SARIF 2.1.0, the form in which code hosts show the findings of tools beside the lines of a change.

use std::collections::BTreeSet;
use std::ops::Range;

use serde_json::{Value, json};

use super::{Shown, Spot};
use crate::problem::Problem;

impl Shown<'_> {
    /// All problems as one SARIF log. Lines and columns count from 1, columns in UTF-16 code units, as the standard has it.
    pub fn sarif(&self, problems: &[Problem]) -> Value {
        let rules: BTreeSet<&str> = problems.iter().map(|problem| problem.kind.code()).collect();
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "nixvol-net",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules.iter().map(|code| json!({ "id": code })).collect::<Vec<_>>(),
                } },
                "columnKind": "utf16CodeUnits",
                "results": problems.iter().map(|problem| self.result(problem)).collect::<Vec<_>>(),
            }],
        })
    }

    fn result(&self, problem: &Problem) -> Value {
        let hint = problem.kind.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        let mut result = json!({
            "ruleId": problem.kind.code(),
            "level": "error",
            "message": { "text": format!("{}{hint}", problem.message()) },
        });
        let logical = problem.at.option().map(|option| json!([{ "fullyQualifiedName": option }]));
        let mut spots = self.spots(problem).into_iter();
        let first = self.spot(&problem.at).and_then(|_| spots.next());
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
        let related: Vec<Value> = spots.map(|spot| json!({ "physicalLocation": physical(&spot) })).collect();
        if !related.is_empty() {
            result["relatedLocations"] = json!(related);
        }
        result
    }
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

/// A path as a URI reference: relative ones stay relative, to the root of whatever is looked at.
fn uri(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let escaped: String = path
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    if path.starts_with('/') { format!("file://{escaped}") } else { escaped }
}
