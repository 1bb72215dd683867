//! Questions with several answers: each is the one that its packet gets alone, and what would open something opens
//! that.

use std::net::Ipv4Addr;

use nixvol_net::explain::{
    ExplainError, ExplainedRules, Explanation, Opening, Question, ServiceOutcome, Survey, SurveyOutcome,
    examples, explain, is_survey, opening, survey,
};
use nixvol_net::matrix::Matrix;
use nixvol_net::plan::Plan;
use nixvol_net::plan::policy::{ICMP, TCP, UDP};
use nixvol_net::reach::{Flow, Flows, Opener, Reach};
use nixvol_net::render::ANCHOR;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::explain::World;
use crate::reach::input;
use crate::support::{cases, declared, fixture, run};

/// Services that tell the ports of `input` apart, by protocol and port.
const SERVICES: [(u8, u16); 11] = [
    (TCP, 1),
    (TCP, 79),
    (TCP, 80),
    (TCP, 81),
    (TCP, 82),
    (TCP, 443),
    (TCP, 65_535),
    (UDP, 80),
    (UDP, 443),
    (ICMP, 0),
    (132, 0),
];

impl World {
    fn rules(&self) -> ExplainedRules<'_> {
        ExplainedRules { anchor: &self.anchor, name: ANCHOR, captured: &[] }
    }

    fn survey(
        &self,
        source: &str,
        destination: &str,
        protocol: Option<&str>,
    ) -> Result<Survey, ExplainError> {
        let question = Question { source, destination, protocol, egress: "en0" };
        assert!(is_survey(&question), "{source} {destination}");
        survey(&self.declaration, &self.plan, &self.rules(), &question)
    }

    fn alone(
        &self,
        source: &str,
        destination: &str,
        (protocol, port): (u8, u16),
    ) -> Result<Explanation, ExplainError> {
        let destination = if port > 0 { format!("{destination}:{port}") } else { destination.to_owned() };
        let protocol = protocol.to_string();
        let question =
            Question { source, destination: &destination, protocol: Some(&protocol), egress: "en0" };
        explain(&self.declaration, &self.plan, &self.rules(), &question)
    }

    /// Everyone who can be named: providers first, whose names stand for whom no volume is.
    fn ends(&self) -> Vec<String> {
        let providers = self.plan.bridges.iter().map(|bridge| bridge.provider.to_string());
        let volumes = self.plan.volumes.iter().map(|volume| volume.name.to_string());
        let gateways = self.plan.bridges.iter().map(|bridge| format!("{}.gateway", bridge.provider));
        let words = ["mac", "localhost", "internet", "lan"].map(str::to_owned);
        providers.chain(volumes).chain(gateways).chain(words).collect()
    }
}

fn is_in(range: &str, port: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    (first.parse().expect("a port")..=last.parse().expect("a port")).contains(&port)
}

/// The fate of a service among some parts, of which one alone has it.
fn fate(parts: &[ServiceOutcome], (protocol, port): (u8, u16)) -> SurveyOutcome {
    let name = match protocol {
        TCP => "tcp",
        UDP => "udp",
        ICMP => "icmp",
        _ => "other",
    };
    let has = |part: &&ServiceOutcome| {
        part.protocols.iter().any(|it| {
            it.protocol == name
                && it.ports.as_ref().is_none_or(|all| all.iter().any(|range| is_in(range, port)))
        })
    };
    let found: Vec<SurveyOutcome> = parts.iter().filter(has).map(|part| part.fate).collect();
    assert_eq!(found.len(), 1, "{name} {port}: {parts:?}");
    found[0]
}

/// Whether a fate is that of a question that was asked alone.
fn is_that(fate: SurveyOutcome, alone: &Explanation) -> bool {
    let is_blocked = alone.packet.iter().chain(&alone.answer).any(|hop| !hop.passes());
    match fate {
        SurveyOutcome::Passes => alone.passes,
        SurveyOutcome::Refused | SurveyOutcome::Dropped => is_blocked,
        SurveyOutcome::Impossible => !is_blocked && alone.refused.is_some(),
    }
}

/// Whether the words of some ends mean one of them.
fn means(world: &World, words: &[String], end: &str) -> bool {
    let provider =
        world.plan.volumes.iter().find(|it| it.name.as_str() == end).map(|it| it.provider.to_string());
    let provider = provider.as_deref();
    let is_named = |words: &[String]| words.iter().any(|word| word == end);
    let stands = |word: &String| match word.split_once(" but ") {
        _ if word == "every provider" => {
            provider.is_some() || world.plan.bridges.iter().any(|it| it.provider.as_str() == end)
        }
        _ if word == "every gateway" => end.ends_with(".gateway"),
        Some((whole, others)) => {
            (whole == end || provider == Some(whole)) && !others.split(" and ").any(|other| other == end)
        }
        None => word == end || provider == Some(word),
    };
    is_named(words) || words.iter().any(stands)
}

proptest! {
    #![proptest_config(cases(16))]

    /// The symbolic cut of services and ends against the concrete evaluator: two thousand random questions.
    #[test]
    fn each_answer_agrees_with_a_single_packet(
        input in input(),
        questions in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..SERVICES.len()), 50),
    ) {
        let world = World::new(&input);
        let ends = world.ends();
        for (from, to, service) in questions {
            let (from, to, service) = (from.get(&ends), to.get(&ends), SERVICES[service]);
            match (world.survey(from, to, None), world.alone(from, to, service)) {
                (Ok(survey), Ok(alone)) => {
                    let said = fate(&survey.answers[0].services, service);
                    prop_assert!(is_that(said, &alone), "{from} {to} {service:?}: {said:?}\n{}", survey.text());
                    prop_assert!(survey.agrees && alone.agrees());
                    let passes = survey.answers[0].services.iter().any(|part| part.fate == SurveyOutcome::Passes);
                    prop_assert_eq!(survey.passes, passes);
                }
                (Err(ExplainError::Question(one)), Err(ExplainError::Question(other))) => prop_assert_eq!(one, other),
                (one, other) => prop_assert!(false, "{from} {to}: {one:?}\n{other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn answers_for_any_agree_with_those_for_each_endpoint(
        input in input(),
        named in any::<prop::sample::Index>(),
        is_source in any::<bool>(),
        service in 0..SERVICES.len(),
    ) {
        let world = World::new(&input);
        let ends = world.ends();
        let named = named.get(&ends);
        let (from, to) = if is_source { (named.as_str(), "any") } else { ("any", named.as_str()) };
        let survey = world.survey(from, to, None).expect("answers");
        for end in ends.iter().filter(|end| *end != named) {
            let (from, to) = if is_source { (named, end) } else { (end, named) };
            let Ok(alone) = world.alone(from, to, SERVICES[service]) else { continue };
            let groups = survey.answers.iter().filter(|answers| means(&world, &answers.ends, end));
            let said: Vec<SurveyOutcome> = groups.map(|answers| fate(&answers.services, SERVICES[service])).collect();
            // A volume that is excepted from its provider is named elsewhere.
            let right = said.iter().filter(|fate| is_that(**fate, &alone)).count();
            prop_assert!(right == said.len() && right > 0, "{from} -> {to}: {said:?}\n{}", survey.text());
        }
    }
}

/// Flows between all volumes and strangers, by every service.
fn grid(plan: &Plan) -> Vec<(Ipv4Addr, Ipv4Addr, (u8, u16))> {
    let strangers = examples(plan).strangers.into_iter().flatten();
    let ends: Vec<Ipv4Addr> = plan.volumes.iter().map(|volume| volume.address).chain(strangers).collect();
    let pairs = ends.iter().flat_map(|from| ends.iter().map(move |to| (*from, *to)));
    pairs.flat_map(|(from, to)| SERVICES.map(|service| (from, to, service))).collect()
}

fn passes(
    flows: &Flows,
    reach: &Reach,
    (from, to, (protocol, port)): (Ipv4Addr, Ipv4Addr, (u8, u16)),
) -> bool {
    let flow = Flow { opener: Opener::Address(from), destination: to, protocol, port };
    reach.outcome_of(flows, &flow).fate.passes()
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn the_matrix_agrees_with_the_policy(input in input()) {
        let world = World::new(&input);
        let plan = &world.plan;
        let mut flows = Flows::default();
        let reach = Reach::of(&mut flows, plan);
        let matrix = Matrix::of(plan);
        let row = |address: Ipv4Addr| plan.bridges.iter().position(|bridge| bridge.region.contains(address));
        for (from, to, service) in grid(plan) {
            let (Some(row), Some(column)) = (row(from), row(to)) else { continue };
            let reaches = matrix.rows().nth(row).expect("a row").1[column];
            let is_among = |names: &[&nixvol_net::model::Name], address| {
                names.is_empty() || names.iter().any(|name| plan.volume(name).is_some_and(|it| it.address == address))
            };
            let name = match service.0 { TCP => "tcp", UDP => "udp", ICMP => "icmp", _ => "other" };
            let told = matrix.passing(row, column).into_iter().any(|it| {
                let by = it.services.by_protocol();
                let mut by = by.iter().filter(|(protocol, _)| *protocol == name);
                is_among(&it.from, from) && is_among(&it.to, to)
                    && by.any(|(_, ports)| ports.as_ref().is_none_or(|all| all.iter().any(|range| is_in(range, service.1))))
            });
            let expected = match reaches {
                nixvol_net::matrix::ProviderReach::All => true,
                nixvol_net::matrix::ProviderReach::Some => told,
                nixvol_net::matrix::ProviderReach::None => false,
            };
            prop_assert_eq!(passes(&flows, &reach, (from, to, service)), expected, "{} -> {} {:?}", from, to, service);
        }
    }

    /// The link of the command opens what was asked about, and nothing else where that is said.
    #[test]
    fn the_suggested_command_opens_the_flow(mut input in input(), chosen in any::<prop::sample::Index>()) {
        let world = World::new(&input);
        let mut flows = Flows::default();
        let before = Reach::of(&mut flows, &world.plan);
        let grid = grid(&world.plan);
        let closed: Vec<_> = grid.iter().copied().filter(|it| !passes(&flows, &before, *it)).collect();
        prop_assume!(!closed.is_empty());
        let (from, to, service) = *chosen.get(&closed);
        let alone = world.alone(&from.to_string(), &to.to_string(), service).expect("an answer");
        let ends = (&alone.source, &alone.destination);
        let found = opening(&world.declaration, &world.plan, ends, Some(alone.service));
        let Some(Opening { command, opens }) = found else {
            prop_assert!(false, "nothing opens {from} -> {to} {service:?}");
            return Ok(());
        };
        let words: Vec<&str> = command.split(' ').collect();
        let option = |name: &str| words.iter().position(|word| *word == name).map(|at| words[at + 1]);
        let mut link = json!({ "from": [option("--from")], "to": [option("--to")] });
        if let Some(protocol) = option("--protocol") {
            link["protocol"] = json!(protocol);
        }
        if let Some(port) = option("--port") {
            link["ports"] = json!([port]);
        }
        let links = input["links"].as_array_mut().expect("links");
        links.push(link);
        let after = Reach::of(&mut flows, &Plan::of(&declared(&input)));
        prop_assert!(passes(&flows, &after, (from, to, service)), "{command}");
        let opened = grid.iter().filter(|it| passes(&flows, &after, **it) && !passes(&flows, &before, **it)).count();
        if opens.is_none() {
            prop_assert_eq!(opened, 1, "{}", command);
        } else {
            // A provider has more addresses than the grid.
            prop_assert!(opened > 1 || alone.source.what.contains("not a volume") || alone.destination.what.contains("not a volume") || service.0 == 132, "{command}: {opens:?}");
        }
    }
}

#[test]
fn answers_have_the_reviewed_wording() {
    let rich = World::new(&fixture("rich.json"));
    let restricted = World::new(&fixture("restricted.json"));
    let text = |world: &World, from: &str, to: &str, protocol| {
        world.survey(from, to, protocol).expect("answers").text()
    };
    let told = [
        text(&restricted, "etcd-1", "etcd-2", None),
        text(&restricted, "etcd-1", "etcd-2", Some("udp")),
        text(&restricted, "any", "etcd-2:2379", None),
        text(&rich, "any", "db", None),
        text(&rich, "api", "any", None),
        text(&rich, "node", "any", Some("icmp")),
        text(&rich, "lab", "lab", None),
        text(&rich, "mac", "any:443", None),
        text(&rich, "any", "internet:443", None),
        text(&rich, "localhost", "any", None),
        text(&rich, "lan", "any", None),
    ];
    insta::with_settings!({ snapshot_path => "snapshots/explain", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("survey", told.join("\n----\n\n"));
    });
}

#[test]
fn surveys_have_json_and_exit_codes() {
    let restricted = fixture("restricted.json").to_string();
    let said = |arguments: &[&str], code: i32| {
        let ran = run(&[&["explain", "--input", "-"], arguments].concat(), &restricted);
        let err = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {err}");
        (serde_json::from_slice::<Value>(&ran.stdout).unwrap_or_default(), err)
    };
    let (pair, _) = said(&["etcd-1", "etcd-2", "--format", "json"], 0);
    assert_eq!(pair["answers"][0]["summary"], "tcp 2379-2380 passes; everything else is refused");
    let part = &pair["answers"][0]["services"][0];
    assert_eq!(part["protocols"], json!([{ "protocol": "tcp", "ports": ["2379-2380"] }]));
    assert_eq!((&part["fate"], &pair["passes"]), (&json!("passes"), &json!(true)));
    assert_eq!(pair["paths"].as_array().expect("paths").len(), 2);
    assert_eq!(pair["toOpen"]["opens"], Value::Null);
    let (any, _) = said(&["any", "etcd-2:2379", "--format", "json"], 0);
    assert_eq!(
        any["answers"][0]["ends"],
        json!(["aws", "azure", "aws.gateway", "azure.gateway", "localhost", "mac"])
    );
    said(&["lan", "any", "--protocol", "tcp"], 0);
    said(&["lan", "etcd-1"], 1);
    said(&["any", "any"], 2);
    said(&["any", "etcd-9"], 2);
    said(&["any", "etcd-1:0"], 2);
    let (one, _) = said(&["etcd-1", "etcd-2:22", "--format", "json"], 1);
    let command = "nixvol-net add link --from etcd-1 --to etcd-2 --protocol tcp --port 22 --file FILE";
    assert_eq!(one["toOpen"], json!({ "command": command, "opens": null }));
    let (one, _) = said(&["aws", "etcd-2:22", "--format", "json"], 1);
    let opens = "tcp 22 from all of aws (1 volume and every other address) to etcd-2";
    assert_eq!(one["toOpen"]["opens"], opens);
}

#[test]
fn part_of_a_name_is_enough_for_a_hint() {
    let hint = |arguments: &[&str], input: &str| {
        let ran = run(arguments, input);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
        String::from_utf8_lossy(&ran.stderr).into_owned()
    };
    let says = "`karpenter-worker-3`";
    assert!(hint(&["explain", "worker-3", "etcd-1"], "").contains(says));
    assert!(hint(&["explain", "any", "worker-3:80"], "").contains(says));
    let with = |field: &str, value: Value| {
        let mut input = crate::support::default_input();
        input[field] = value;
        input.to_string()
    };
    let link = with("links", json!([{ "from": ["worker-3"], "to": ["aws"] }]));
    assert!(hint(&["check", "--input", "-"], &link).contains(says));
    let expect = with("expect", json!([{ "from": ["any"], "to": ["worker-3"], "passes": false }]));
    assert!(hint(&["check", "--input", "-"], &expect).contains(says));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("network.nix").display().to_string();
    let links = "links = [\n      { from = [ \"aws\" ]; to = [ \"gcp\" ]; }\n    ];";
    let text = format!(
        "{{ ... }}:\n{{\n  services.nixvol-net = {{\n    preset = \"multi-cloud\";\n    {links}\n  }};\n}}\n"
    );
    std::fs::write(&file, text).expect("a file");
    for arguments in [
        &["add", "link", "--from", "worker-3", "--to", "aws", "--file", &file][..],
        &["add", "expect", "--from", "mac", "--to", "worker-3", "--passes", "--file", &file],
        &["remove", "volume", "worker-3", "--file", &file],
        &["move", "volume", "worker-3", "--to", "gcp", "--file", &file],
        &["rename", "volume", "worker-3", "x", "--file", &file],
    ] {
        let said = hint(arguments, "");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}
