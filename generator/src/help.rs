//! The pages of `nixvol-net help`: one for each error code and warning, and guides that are longer than the help of a
//! flag.
//!
//! A message says what is wrong in this declaration; its page says why that is an error, with an example and its fix.
//! The pages are Markdown files (`tests/help.rs` runs every example of an error, `tests/readme.rs` every command of the
//! guides). Sees: nothing. Never: words a problem (`problem` does), or prints.

/// A help page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The topic that selects it: a code such as `E012`, or a word.
    pub topic: &'static str,
    markdown: &'static str,
}

macro_rules! pages {
    ($($topic:literal)*) => {
        &[$(Page { topic: $topic, markdown: include_str!(concat!("help/", $topic, ".md")) }),*]
    };
}

/// The pages of error codes, in the order of the codes.
pub const ERRORS: &[Page] = pages! {
    "E001" "E002" "E003" "E004" "E005" "E006" "E007" "E008" "E009"
    "E010" "E011" "E012" "E013" "E014" "E015"
    "E020" "E021" "E022" "E023" "E024" "E025"
    "E030" "E031" "E032" "E033" "E034"
    "E040" "E041" "E042" "E043" "E044" "E045" "E046"
    "E050" "E051" "E052" "E053" "E054" "E055" "E056" "E057"
    "E060" "E061" "E062" "E063" "E064" "E065" "E066" "E067"
    "E070" "E071" "E072" "E073" "E074" "E075" "E076" "E077" "E078" "E079"
    "E080" "E081"
};

/// The pages of warnings.
pub const WARNINGS: &[Page] = pages! { "W001" "W002" "W003" "W004" };

/// The guides.
pub const GUIDES: &[Page] = pages! {
    "options" "policy" "conditions" "macs" "run" "manager" "macos" "review" "lab" "scenario" "serve" "json" "migration"
};

/// The topic of the table of all codes.
pub const TABLE: &str = "errors";

impl Page {
    /// The title: its first line without the code, in lower case.
    pub fn title(&self) -> &'static str {
        let line = self.markdown.lines().next().unwrap_or_default().trim_start_matches("# ");
        line.split_once(": ").map_or(line, |(_, title)| title)
    }

    /// The page as Markdown.
    pub fn markdown(&self) -> &'static str {
        self.markdown
    }

    /// The page for a terminal: headings without `#`, examples indented instead of fenced.
    pub fn text(&self) -> String {
        let mut fenced = false;
        let mut text = String::new();
        for line in self.markdown.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
                continue;
            }
            if fenced && !line.is_empty() {
                text.push_str("    ");
            }
            let heading = line.trim_start_matches('#');
            text.push_str(if fenced || heading.len() == line.len() { line } else { heading.trim_start() });
            text.push('\n');
        }
        text
    }
}

/// The page of a topic, or of a code in any usual notation; `None` if there is none.
pub fn page(topic: &str) -> Option<&'static Page> {
    let code = number(topic).map(|number| format!("E{number:03}"));
    let warning = topic.trim_start_matches("warning").trim_matches(['[', ']', ':']).to_ascii_uppercase();
    let topic = code.as_deref().unwrap_or(topic);
    let is_warning = WARNINGS.iter().any(|page| page.topic == warning);
    let topic = if is_warning { warning.as_str() } else { topic };
    ERRORS.iter().chain(WARNINGS).chain(GUIDES).find(|page| page.topic == topic)
}

/// The number of an error code in any usual notation: `E012`, `e12`, `12`, `error[E012]`.
fn number(topic: &str) -> Option<u32> {
    let code = topic.trim_start_matches("error").trim_matches(['[', ']', ':']);
    let digits = code.strip_prefix(['E', 'e']).unwrap_or(code);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The existing error code nearest to an unknown one; `None` if the topic is not a code.
pub fn nearest(topic: &str) -> Option<&'static str> {
    let number = number(topic)?;
    let distance = |page: &&Page| self::number(page.topic).map_or(u32::MAX, |other| other.abs_diff(number));
    ERRORS.iter().min_by_key(distance).map(|page| page.topic)
}

/// All codes with their titles, one per line.
pub fn table() -> String {
    let rows: Vec<String> =
        ERRORS.iter().chain(WARNINGS).map(|page| format!("{}  {}", page.topic, page.title())).collect();
    rows.join("\n") + "\n"
}
