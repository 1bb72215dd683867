//! Every answer at once: each is the one that the question gets alone.

use std::net::Ipv4Addr;

use nixvol_net::explain::every::{Every, Scene, Story, every};
use nixvol_net::explain::{Hop, Question, Rules, explain};
use nixvol_net::model::Declaration;
use nixvol_net::pf::eval::{Outcome, Via};
use nixvol_net::plan::Plan;
use nixvol_net::render::{ANCHOR, bundle};
use serde_json::{Value, json};

use crate::support::{declared, default_input, fixture, topologies};

/// A network, its anchor, and every answer.
struct Asked {
    declaration: Declaration,
    plan: Plan,
    anchor: String,
    every: Every,
}

fn rules(anchor: &str) -> Rules<'_> {
    Rules { anchor, name: ANCHOR, captured: &[] }
}

fn asked(input: &Value) -> Asked {
    let declaration = declared(input);
    let plan = Plan::of(&declaration);
    let anchor = bundle(&declaration, &plan).expect("a bundle").files[ANCHOR].text.clone();
    let every = every(&declaration, &plan, &rules(&anchor), "en0").expect("rules that can be read");
    Asked { declaration, plan, anchor, every }
}

/// The default topology with published ports.
fn published() -> Value {
    let mut input = default_input();
    input["volumes"]["etcd-1"]["publish"] = json!([2379, 2380]);
    input["volumes"]["etcd-2"]["publish"] = json!([2379]);
    input["volumes"]["etcd-3"]["attachment"] = json!("guest");
    input
}

/// Links of two providers to a third that become one rule: what each is told of is its own.
fn merged() -> Value {
    let mut input = crate::support::providers(4);
    input["links"] = json!([
        { "from": ["p0"], "to": ["p2"], "protocol": "tcp", "ports": [443] },
        { "from": ["p1"], "to": ["p2"], "protocol": "tcp", "ports": [443] },
    ]);
    input
}

/// The inputs that are asked about.
fn inputs() -> Vec<(&'static str, Value)> {
    let mut all: Vec<_> =
        topologies().into_iter().filter(|(name, _)| !["fifty", "default"].contains(name)).collect();
    all.extend([
        ("restricted", fixture("restricted.json")),
        ("published", published()),
        ("merged", merged()),
        ("conditions", fixture("ways.json")),
    ]);
    all
}

impl Asked {
    /// Every end that someone can name, with its class.
    fn ends(&self) -> Vec<(String, usize)> {
        let every = &self.every;
        let mut ends: Vec<(String, usize)> = Vec::new();
        for ((volume, class), alias) in self.plan.volumes.iter().zip(&every.volumes).zip(&every.aliases) {
            ends.push((volume.address.to_string(), *class));
            ends.extend(volume.alias.zip(*alias).map(|(address, class)| (address.to_string(), class)));
        }
        for ((bridge, stranger), gateway) in
            self.plan.bridges.iter().zip(&every.strangers).zip(&every.gateways)
        {
            ends.extend(stranger.map(|(class, _)| (bridge.provider.to_string(), class)));
            ends.push((bridge.gateway.addr().to_string(), *gateway));
        }
        ends.extend([("localhost".to_owned(), every.loopback), ("mac".to_owned(), every.mac)]);
        ends.push((every.own.1.to_string(), every.own.0));
        ends.extend(["internet", "lan", "9.9.9.9"].map(|word| (word.to_owned(), every.outside)));
        ends
    }

    fn story(&self, (from, to, is_one): (usize, usize, bool), protocol: u8, port: u16) -> &Story {
        let kind = match protocol {
            1 | 6 | 17 => protocol,
            50 | 51 => 50,
            _ => 132,
        };
        let cell = if is_one { self.every.selves[from] } else { self.every.rows[from][to] };
        let cell = &self.every.cells[cell as usize];
        let span = cell.iter().find(|span| span.protocol == kind && (span.first..=span.last).contains(&port));
        &self.every.stories[span.expect("every service has an answer").story as usize]
    }

    fn bridge(&self, class: usize) -> Option<&str> {
        self.every.bridges[class].map(|bridge| self.plan.bridges[bridge].logical.as_str())
    }
}

/// A story with the names of its ends.
fn named(text: &str, from: Option<&str>, to: Option<&str>) -> String {
    text.replace("{from}", from.unwrap_or("?")).replace("{to}", to.unwrap_or("?"))
}

fn compare(asked: &Asked, from: (&str, usize), to: (&str, usize), protocol: u8, port: u16) {
    let destination = if port > 0 { format!("{}:{port}", to.0) } else { to.0.to_owned() };
    let number = protocol.to_string();
    let question =
        Question { source: from.0, destination: &destination, protocol: Some(&number), egress: "en0" };
    let alone = explain(&asked.declaration, &asked.plan, &rules(&asked.anchor), &question);
    // A provider's name as a destination is another machine of it.
    let is_one = from.0 == to.0 && from.0.parse::<Ipv4Addr>().is_ok();
    let story = asked.story((from.1, to.1, is_one), protocol, port);
    let what = format!("{} -> {destination} by {number}", from.0);
    let (a, b) = (asked.bridge(from.1), asked.bridge(to.1));
    match alone {
        Err(_) => assert!(story.wrong, "{what}"),
        Ok(explanation) => {
            assert!(!story.wrong, "{what}: {}", story.verdict);
            assert_eq!(story.passes, explanation.passes, "{what}");
            assert_eq!(named(&story.verdict, a, b), explanation.verdict, "{what}");
            assert_eq!(story.refused, explanation.refused, "{what}");
            hops(&story.packet, &explanation.packet, (a, b), &what);
            hops(&story.answer, &explanation.answer, (a, b), &what);
            let added = explanation.added.map(|added| (added.there_ms, added.back_ms));
            assert_eq!(story.added, added, "{what}");
        }
    }
}

fn hops(scenes: &[Scene], hops: &[Hop], (a, b): (Option<&str>, Option<&str>), what: &str) {
    assert_eq!(scenes.len(), hops.len(), "{what}");
    for (scene, hop) in scenes.iter().zip(hops) {
        assert_eq!(
            (scene.direction, named(&scene.interface, a, b)),
            (hop.direction.word(), hop.interface.clone()),
            "{what}"
        );
        assert_eq!((scene.passes, scene.answered), (hop.action == Outcome::Pass, hop.answered), "{what}");
        assert_eq!(scene.by_state, hop.via == Via::State, "{what}");
        assert_eq!(scene.line, hop.rule.as_ref().and_then(|rule| rule.line), "{what}");
        assert_eq!(scene.translation, hop.translation.as_ref().and_then(|rule| rule.line), "{what}");
        assert_eq!(scene.because, hop.reason.as_ref().map(|reason| reason.words.clone()), "{what}");
        let pipes: Vec<_> = hop.pipes.iter().map(|pipe| (pipe.number, pipe.rule.line)).collect();
        assert_eq!(scene.pipes.iter().map(|it| (it.number, it.line)).collect::<Vec<_>>(), pipes, "{what}");
        let paths = |reason: &nixvol_net::explain::Reason| {
            let declared = |it: &nixvol_net::explain::Declared| {
                (it.path.clone(), it.says.clone(), it.place.as_ref().map(ToString::to_string))
            };
            [&reason.declared, &reason.near].map(|all| all.iter().map(declared).collect::<Vec<_>>())
        };
        let said = |all: &Vec<nixvol_net::explain::every::Said>| {
            all.iter().map(|it| (it.path.clone(), it.says.clone(), it.place.clone())).collect::<Vec<_>>()
        };
        let expected = hop.reason.as_ref().map(paths).unwrap_or_default();
        assert_eq!([said(&scene.declared), said(&scene.near)], expected, "{what}");
        if let Some(becomes) = &scene.becomes {
            let (_, address) = becomes.split_once(' ').expect("a word and an address");
            let address: std::net::IpAddr = address.parse::<Ipv4Addr>().expect("an address").into();
            assert!([hop.after.source, hop.after.destination].contains(&address), "{what}: {becomes}");
        }
    }
}

/// The services that are asked about: the ends of every range, and each protocol.
const SERVICES: [(u8, u16); 16] = [
    (6, 1),
    (6, 53),
    (6, 443),
    (6, 2378),
    (6, 2379),
    (6, 2380),
    (6, 2381),
    (6, 5432),
    (6, 6443),
    (6, 65535),
    (17, 53),
    (17, 2379),
    (1, 0),
    (50, 0),
    (51, 0),
    (47, 0),
];

#[test]
fn each_is_the_answer_that_the_question_gets_alone() {
    for (_, input) in inputs() {
        let asked = asked(&input);
        let ends = asked.ends();
        // Every pair once, each with services of its own; together they meet every service many times.
        for (row, (from, from_class)) in ends.iter().enumerate() {
            for (column, (to, to_class)) in ends.iter().enumerate() {
                let (protocol, port) = SERVICES[(row * 7 + column * 5) % SERVICES.len()];
                compare(&asked, (from, *from_class), (to, *to_class), protocol, port);
            }
        }
    }
}

#[test]
fn every_pair_of_classes_has_an_answer_to_every_service() {
    for (topology, input) in topologies() {
        let asked = asked(&input);
        for cell in asked.every.rows.iter().flatten() {
            let mut next: Vec<(u8, u32)> = vec![(6, 1), (17, 1)];
            for span in &asked.every.cells[*cell as usize] {
                if let Some(place) = next.iter_mut().find(|(protocol, _)| *protocol == span.protocol) {
                    assert_eq!(place.1, u32::from(span.first), "{topology}");
                    place.1 = u32::from(span.last) + 1;
                }
            }
            assert!(next.iter().all(|(_, end)| *end == 65536), "{topology}: {next:?}");
        }
    }
}

#[test]
fn answers_grow_with_what_differs_and_not_with_pairs() {
    let mesh = |count: usize| {
        let mut input = crate::support::providers(count);
        for n in 0..count * 4 {
            let (provider, host) = (n % count, n / count + 2);
            input["volumes"][format!("v{n}")] = json!({ "provider": format!("p{provider}"), "address": format!("10.{}.{}.{host}", provider / 256, provider % 256) });
        }
        input["links"] =
            json!([{ "from": crate::support::names(count), "to": crate::support::names(count) }]);
        let every = asked(&input).every;
        (every.members.len(), every.cells.len(), every.stories.len())
    };
    let (few, many) = (mesh(5), mesh(40));
    // Volumes of one provider that nothing distinguishes are one class.
    assert_eq!(many.0 - few.0, 3 * 35);
    assert!(many.1 < few.1 * 8 * 3 / 2 && many.2 < few.2 * 8 * 3 / 2, "{few:?} {many:?}");
}
