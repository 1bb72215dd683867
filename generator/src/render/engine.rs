//! The template engine, with escaping by language for every value in every file.
//!
//! A template's name determines its language. What a language cannot express is refused, never altered: a rule with an
//! altered name would be another rule.

use std::borrow::Cow;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, ValueKind};
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior, Value};
use serde::Serialize;

use super::RenderError;
use crate::place::is_hostile;

/// All templates, by name.
pub const TEMPLATES: &[(&str, &str)] = &[
    ("pf/anchor.conf", include_str!("../../../templates/pf/anchor.conf.j2")),
    ("launchd/daemon.plist", include_str!("../../../templates/launchd/daemon.plist.j2")),
    ("newsyslog/nix-volumes.conf", include_str!("../../../templates/newsyslog/nix-volumes.conf.j2")),
    ("wireguard/nixvol.conf", include_str!("../../../templates/wireguard/nixvol.conf.j2")),
    ("hosts/hosts", include_str!("../../../templates/hosts/hosts.j2")),
    ("guest/05-nixvol.network", include_str!("../../../templates/guest/05-nixvol.network.j2")),
    ("guest/99-nixvol.yaml", include_str!("../../../templates/guest/99-nixvol.yaml.j2")),
    ("guest/interfaces", include_str!("../../../templates/guest/interfaces.j2")),
    ("guest/nixvol.nmconnection", include_str!("../../../templates/guest/nixvol.nmconnection.j2")),
    ("guest/talos.yaml", include_str!("../../../templates/guest/talos.yaml.j2")),
    (
        "script/manage-macos-networking.sh",
        include_str!("../../../templates/script/manage-macos-networking.sh.j2"),
    ),
    ("script/network.table", include_str!("../../../templates/script/network.table.j2")),
    ("script/machine.sh", include_str!("../../../templates/script/machine.sh.j2")),
    ("script/change.sh", include_str!("../../../templates/script/change.sh.j2")),
    ("script/commands.sh", include_str!("../../../templates/script/commands.sh.j2")),
    ("script/probe.sh", include_str!("../../../templates/script/probe.sh.j2")),
    ("script/faults.sh", include_str!("../../../templates/script/faults.sh.j2")),
    ("script/faults.awk", include_str!("../../../templates/script/faults.awk.j2")),
    ("script/collect.sh", include_str!("../../../templates/script/collect.sh.j2")),
    ("script/engine.sh", include_str!("../../../templates/script/engine.sh.j2")),
    ("script/look.awk", include_str!("../../../templates/script/look.awk.j2")),
    ("script/outside.awk", include_str!("../../../templates/script/outside.awk.j2")),
    ("script/rules.awk", include_str!("../../../templates/script/rules.awk.j2")),
    ("script/others.awk", include_str!("../../../templates/script/others.awk.j2")),
    ("script/health.awk", include_str!("../../../templates/script/health.awk.j2")),
    ("script/differ.awk", include_str!("../../../templates/script/differ.awk.j2")),
    ("script/pipes.awk", include_str!("../../../templates/script/pipes.awk.j2")),
    ("picture/topology.svg", include_str!("../../../templates/picture/topology.svg.j2")),
    ("report/page.html", include_str!("../../../templates/report/page.html.j2")),
    ("scenario/timeline.svg", include_str!("../../../templates/scenario/timeline.svg.j2")),
    ("serve/now.html", include_str!("../../../templates/serve/now.html.j2")),
    ("serve/traffic.html", include_str!("../../../templates/serve/traffic.html.j2")),
    ("script/ends.awk", include_str!("../../../templates/script/ends.awk.j2")),
    ("script/families.table", include_str!("../../../templates/script/families.table.j2")),
    ("script/mesh.awk", include_str!("../../../templates/script/mesh.awk.j2")),
    ("script/metrics.awk", include_str!("../../../templates/script/metrics.awk.j2")),
    ("script/report.awk", include_str!("../../../templates/script/report.awk.j2")),
];

/// Text that is already escaped for its language and is placed as it is.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Markup(Value);

impl Markup {
    /// The output of another template of the same language, or a text of this program.
    pub fn rendered(text: String) -> Self {
        Self(Value::from_safe_string(text))
    }

    /// JSON for a `<script>` element of HTML, escaped so that it cannot end the element.
    pub fn json(value: &impl Serialize) -> Self {
        let json = serde_json::to_string(value).expect("strings, numbers and lists are JSON");
        Self(Value::from_safe_string(
            json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"),
        ))
    }
}

/// How values are escaped in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    /// In single quotes.
    Sh,
    /// With entities; also for HTML, where attributes are in double quotes.
    Xml,
    /// A word of pf: an address, a network, a port, a name, or a table in angle brackets. Anything else is refused.
    Pf,
    /// A field of the manager's table, which is a single-quoted string of sh with tab-separated lines.
    Field,
    /// A value of WireGuard's configuration: a name, an address with its port or prefix, or a key in base64.
    Wireguard,
    /// A word of a file without quoting: no whitespace, no characters that are special in such files, no control
    /// characters.
    Word,
}

impl Language {
    fn of(template: &str) -> Self {
        match template.rsplit_once('.').map(|(_, extension)| extension) {
            Some("sh") => Self::Sh,
            Some("plist" | "svg" | "html") => Self::Xml,
            Some("table") => Self::Field,
            _ if template.starts_with("pf/") => Self::Pf,
            _ if template.starts_with("wireguard/") => Self::Wireguard,
            _ => Self::Word,
        }
    }

    const ALL: [(Self, &str); 6] = [
        (Self::Sh, "sh"),
        (Self::Xml, "xml"),
        (Self::Pf, "pf"),
        (Self::Field, "field"),
        (Self::Wireguard, "wireguard"),
        (Self::Word, "word"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(language, _)| *language == self).map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(language, _)| *language)
    }

    /// The text as this language writes it; `None` if it cannot.
    fn write(self, text: &str) -> Option<Cow<'_, str>> {
        let is_plain = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if !is_plain && text.chars().any(is_hostile) {
            return None;
        }
        let pf_word = |c: char| c.is_ascii_alphanumeric() || "._:/,-".contains(c);
        let bare_word = |c: char| !c.is_whitespace() && !"#'\"\\`$;&|<>(){}*?[]!".contains(c);
        match self {
            Self::Sh => Some(format!("'{}'", text.replace('\'', r"'\''")).into()),
            Self::Xml if !text.contains(['&', '<', '>', '"']) => Some(text.into()),
            Self::Xml => Some(
                text.replace('&', "&amp;")
                    .replace('<', "&lt;")
                    .replace('>', "&gt;")
                    .replace('"', "&quot;")
                    .into(),
            ),
            Self::Pf => {
                let table = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
                let word = table.unwrap_or(text);
                (!word.is_empty() && word.chars().all(pf_word)).then(|| text.into())
            }
            Self::Wireguard => {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/+=[]-".contains(c);
                (!text.is_empty() && text.chars().all(is_plain)).then(|| text.into())
            }
            Self::Field => (!text.is_empty()).then(|| text.replace('\'', r"'\''").into()),
            Self::Word => (!text.is_empty() && text.chars().all(bare_word)).then(|| text.into()),
        }
    }
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax =
        SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the standard delimiters"));
    environment.set_auto_escape_callback(|name| AutoEscape::Custom(Language::of(name).name().into()));
    environment.set_formatter(|out, state, value| format(out, state, value));
    for (name, source) in TEMPLATES {
        environment.add_template(name, source).unwrap_or_else(|error| panic!("template {name}: {error:#}"));
    }
    environment
});

/// Writes one value to the output of a template.
fn format(out: &mut Output, state: &State, value: &Value) -> Result<(), minijinja::Error> {
    let refuse = |what: String| minijinja::Error::new(ErrorKind::BadEscape, what);
    if value.is_safe() {
        return out.write_str(value.as_str().unwrap_or_default()).map_err(minijinja::Error::from);
    }
    let AutoEscape::Custom(name) = state.auto_escape() else {
        return Err(refuse("a template without a language".to_owned()));
    };
    let language = Language::named(name).ok_or_else(|| refuse(format!("no language {name}")))?;
    let text = match value.kind() {
        ValueKind::Number => value.to_string().into(),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            language.write(text).ok_or_else(|| refuse(format!("{name} cannot hold {text:?}")))?
        }
        kind => {
            return Err(refuse(format!("a template places strings and numbers, not a {kind}")));
        }
    };
    out.write_str(&text).map_err(minijinja::Error::from)
}

/// Renders the template with this name. Fails if a value cannot be expressed.
pub fn render(name: &str, context: impl Serialize) -> Result<String, RenderError> {
    let template = ENVIRONMENT.get_template(name).map_err(RenderError)?;
    template.render(Serde(context)).map_err(RenderError)
}

#[cfg(test)]
mod tests {
    use super::Language;

    #[test]
    fn a_language_refuses_or_keeps_a_value_in_its_place() {
        let hostile = "a'b\"c $(id) `id` <x> & # ; \\";
        assert_eq!(Language::Sh.write(hostile).as_deref(), Some(r#"'a'\''b"c $(id) `id` <x> & # ; \'"#));
        assert_eq!(
            Language::Xml.write(hostile).as_deref(),
            Some(r"a'b&quot;c $(id) `id` &lt;x&gt; &amp; # ; \")
        );
        assert_eq!(Language::Pf.write(hostile), None);
        assert_eq!(Language::Word.write(hostile), None);
        assert_eq!(Language::Wireguard.write(hostile), None);
        assert_eq!(Language::Wireguard.write("a = b"), None);
        assert_eq!(Language::Field.write(hostile).as_deref(), Some(r#"a'\''b"c $(id) `id` <x> & # ; \"#));
        assert_eq!(Language::Field.write("two\tfields"), None);
        for (language, _) in Language::ALL {
            assert_eq!(language.write("two\nlines"), None);
            assert!(language.write("10.0.0.0/16").is_some());
        }
    }
}
