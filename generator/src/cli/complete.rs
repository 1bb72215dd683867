//! Shell completion of values that only the declaration knows: names of providers and volumes, indices of links and
//! expectations. The declaration is the one that the command line being completed names by `--input`, `--bundle` or
//! `--file`, otherwise the embedded one. If it cannot be read, nothing is completed; running the command reports the
//! error.

use std::ffi::{OsStr, OsString};

use std::path::Path;

use clap_complete::CompletionCandidate;
use nixvol_net::edit::NixFile;
use nixvol_net::input::{DEFAULT, Word};
use nixvol_net::render::NETWORK;
use nixvol_net::router::mac_end;
use serde_json::Value;

use crate::disk::given;

/// Completes names of volumes.
pub fn volumes(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, |declaration| named(declaration, "volumes"))
}

/// Completes names of providers.
pub fn providers(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, |declaration| named(declaration, "providers"))
}

/// Completes names of volumes and providers.
pub fn ends(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, both)
}

/// Completes the endpoints of a fault in the lab: volumes and providers, or Macs.
pub fn cut(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, |declaration| both(declaration).into_iter().chain(macs(declaration)).collect())
}

/// Completes the endpoints of an expectation: volumes, providers, and the keywords such as `internet`.
pub fn parties(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, |declaration| both(declaration).into_iter().chain(words(None)).collect())
}

/// Completes the endpoints that `explain` accepts: volumes, providers, gateways and keywords.
pub fn asked(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, |declaration| {
        let gateways = keys(declaration, "providers").into_iter();
        let gateways =
            gateways.map(|name| (format!("{name}.gateway"), format!("the Mac's address in {name}")));
        both(declaration).into_iter().chain(gateways).chain(words(Some(Word::Any))).collect()
    })
}

/// Completes `links.0`, `links.1`, ….
pub fn links(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, |declaration| numbered(declaration, "links"))
}

/// Completes `expect.0`, `expect.1`, ….
pub fn expectations(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, |declaration| numbered(declaration, "expect"))
}

/// Completes what `lab capture` accepts: volumes, providers and links, and the link between the Macs.
pub fn captured(current: &OsStr) -> Vec<CompletionCandidate> {
    candidates(current, |declaration| {
        let link =
            macs(declaration).first().map(|_| ("macs".to_owned(), "the link between the Macs".to_owned()));
        both(declaration).into_iter().chain(numbered(declaration, "links")).chain(link).collect()
    })
}

/// The Macs of a declaration that has several.
fn macs(declaration: &Value) -> Vec<Told> {
    let macs = keys(declaration, "macs").into_iter();
    macs.map(|name| (mac_end(&name), format!("the Mac {name}"))).collect()
}

/// A candidate and its help text.
type Told = (String, String);

fn candidates(current: &OsStr, of: impl FnOnce(&Value) -> Vec<Told>) -> Vec<CompletionCandidate> {
    let (Some(current), Some(declaration)) = (current.to_str(), declaration()) else {
        return Vec::new();
    };
    let begun = of(&declaration).into_iter().filter(|(word, _)| word.starts_with(current));
    begun.map(|(word, what)| CompletionCandidate::new(word).help(Some(what.into()))).collect()
}

fn keys(declaration: &Value, part: &str) -> Vec<String> {
    declaration[part].as_object().map(|entries| entries.keys().cloned().collect()).unwrap_or_default()
}

fn named(declaration: &Value, part: &str) -> Vec<Told> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let what = |name: &String| {
        let it = &declaration[part][name];
        match part {
            "volumes" => format!("volume of {}, {}", text(&it["provider"]), text(&it["address"])),
            _ => format!("provider, {}", text(&it["network"])),
        }
    };
    keys(declaration, part).into_iter().map(|name| (name.clone(), what(&name))).collect()
}

fn both(declaration: &Value) -> Vec<Told> {
    let providers = named(declaration, "providers").into_iter();
    providers.chain(named(declaration, "volumes")).collect()
}

fn words(without: Option<Word>) -> impl Iterator<Item = Told> {
    let known = Word::WORDS.iter().filter(move |word| Word::from_word(word) != without);
    known.map(|word| ((*word).to_owned(), "whatever the declaration".to_owned()))
}

fn numbered(declaration: &Value, list: &str) -> Vec<Told> {
    let items = declaration[list].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = |value: &Value| {
        let names = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.collect::<Vec<_>>().join(", ")
    };
    let told = |(index, item): (usize, &Value)| {
        (format!("{list}.{index}"), format!("{} -> {}", names(&item["from"]), names(&item["to"])))
    };
    items.iter().enumerate().map(told).collect()
}

/// The declaration that the command line being completed refers to; `None` if it cannot be read.
fn declaration() -> Option<Value> {
    let arguments: Vec<OsString> = std::env::args_os().skip_while(|it| it != "--").skip(1).collect();
    let given = |flag: &str| value_of(&arguments, flag);
    if let Some(input) = given("--input").filter(|input| input != "-") {
        return serde_json::from_slice(&given::read_plain(Path::new(&input)).ok()?).ok();
    }
    if let Some(bundle) = given("--bundle") {
        return serde_json::from_slice(&given::read_plain(&Path::new(&bundle).join(NETWORK)).ok()?).ok();
    }
    if let Some(file) = given("--file") {
        let text = given::read_plain_text(Path::new(&file)).ok()?;
        return Some(NixFile::parse(&text, &[]).ok()?.declared().json);
    }
    serde_json::from_str(DEFAULT).ok()
}

/// The value of a flag, given as `--flag VALUE`, `--flag=VALUE`, or `--flag = VALUE` (bash splits words at `=`).
fn value_of(arguments: &[OsString], flag: &str) -> Option<OsString> {
    arguments.iter().enumerate().find_map(|(index, argument)| {
        let argument = argument.to_str()?;
        if argument == flag {
            let mut behind = arguments[index + 1..].iter();
            return behind.find(|value| *value != "=").cloned();
        }
        argument.strip_prefix(flag)?.strip_prefix('=').map(OsString::from)
    })
}
