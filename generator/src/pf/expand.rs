//! Expansion: a rule with lists becomes rules without lists.
//!
//! It exists because the kernel has no lists, and verdicts and labels depend on the order in which pfctl multiplies
//! them: interface, protocol, ICMP type, source, source port, OS, destination, destination port, user, group. Sees:
//! host, names, syntax. Never: text, or the parser.

use super::host::Host;
use super::names::{ICMP, ICMP6, Names, PORT_UNREACHABLE, PORT_UNREACHABLE6, TCP, UDP};
use super::syntax::{
    Action, Address, Block, Family, HostMatch, Icmp, IdMatch, Interface, NumberMatch, PoolHost, PortMatch,
    Rule, SourceTrack, StateKind,
};

/// Most rules that an input may expand to, counted with their pools. Lists multiply: eight lists of ten are a hundred
/// million rules.
pub const MOST_RULES: usize = 100_000;

/// Longest label or tag, with variables substituted.
const LONGEST_LABEL: usize = 63;

/// `from … to …` as written.
#[derive(Default)]
pub(super) struct FromTo {
    pub source: Vec<Host>,
    pub source_ports: Vec<PortMatch>,
    pub oses: Vec<String>,
    pub destination: Vec<Host>,
    pub destination_ports: Vec<PortMatch>,
}

/// A rule with its lists; an empty list counts as one combination without a value.
pub(super) struct Draft {
    pub rule: Rule,
    pub interfaces: Vec<Interface>,
    pub protocols: Vec<u8>,
    pub icmp: Vec<(u8, Icmp)>,
    pub source: Vec<Host>,
    pub source_ports: Vec<PortMatch>,
    pub oses: Vec<String>,
    pub destination: Vec<Host>,
    pub destination_ports: Vec<PortMatch>,
    pub users: Vec<IdMatch>,
    pub groups: Vec<IdMatch>,
    /// The addresses after `->` or `route-to`: every expanded rule gets all of them.
    pub pool: Vec<Host>,
}

impl Draft {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            interfaces: Vec::new(),
            protocols: Vec::new(),
            icmp: Vec::new(),
            source: Vec::new(),
            source_ports: Vec::new(),
            oses: Vec::new(),
            destination: Vec::new(),
            destination_ports: Vec::new(),
            users: Vec::new(),
            groups: Vec::new(),
            pool: Vec::new(),
        }
    }

    /// A draft with lists of interfaces, protocols, sources and destinations.
    pub(super) fn over(rule: Rule, interfaces: Vec<Interface>, protocols: Vec<u8>, ends: FromTo) -> Self {
        let mut draft = Self { interfaces, protocols, ..Self::new(rule) };
        draft.set_from_to(ends);
        draft
    }

    fn set_from_to(&mut self, from_to: FromTo) {
        self.source = from_to.source;
        self.source_ports = from_to.source_ports;
        self.oses = from_to.oses;
        self.destination = from_to.destination;
        self.destination_ports = from_to.destination_ports;
    }

    fn combinations(&self) -> usize {
        let counts = [
            self.interfaces.len(),
            self.protocols.len(),
            self.icmp.len(),
            self.source.len(),
            self.source_ports.len(),
            self.oses.len(),
            self.destination.len(),
            self.destination_ports.len(),
            self.users.len(),
            self.groups.len(),
        ];
        counts.iter().fold(1, |product, count| product.saturating_mul((*count).max(1)))
    }

    /// The size of one combination: the rule, its pool, and the rules in its braces.
    fn weight(&self) -> usize {
        let body = self.rule.anchor.as_ref().and_then(|call| call.body.as_ref());
        1 + self.pool.len() + body.map_or(0, |body| body.rules.count())
    }
}

/// One combination: a value from every list.
struct Choice<'d> {
    interface: Option<&'d Interface>,
    protocol: Option<u8>,
    icmp: Option<(u8, Icmp)>,
    source: Option<&'d Host>,
    source_port: Option<PortMatch>,
    os: Option<&'d String>,
    destination: Option<&'d Host>,
    destination_port: Option<PortMatch>,
    user: Option<IdMatch>,
    group: Option<IdMatch>,
}

impl<'d> Choice<'d> {
    /// The combination with this number: the last list varies fastest.
    fn new(draft: &'d Draft, mut number: usize) -> Self {
        fn pick<'l, T>(list: &'l [T], rest: &mut usize) -> Option<&'l T> {
            let count = list.len().max(1);
            let index = *rest % count;
            *rest /= count;
            list.get(index)
        }
        let rest = &mut number;
        let group = pick(&draft.groups, rest).copied();
        let user = pick(&draft.users, rest).copied();
        let destination_port = pick(&draft.destination_ports, rest).copied();
        let destination = pick(&draft.destination, rest);
        let os = pick(&draft.oses, rest);
        let source_port = pick(&draft.source_ports, rest).copied();
        let source = pick(&draft.source, rest);
        let icmp = pick(&draft.icmp, rest).copied();
        let protocol = pick(&draft.protocols, rest).copied();
        let interface = pick(&draft.interfaces, rest);
        Self {
            interface,
            protocol,
            icmp,
            source,
            source_port,
            os,
            destination,
            destination_port,
            user,
            group,
        }
    }

    /// The rule's family and interface; `None` if addresses and interface contradict each other.
    fn settle(&self, family: Option<Family>) -> Option<(Option<Family>, Option<Interface>)> {
        let families = [family, self.source.and_then(|host| host.family)];
        let families = families.into_iter().chain([self.destination.and_then(|host| host.family)]);
        let mut families = families.flatten();
        let first = families.next();
        if families.any(|other| Some(other) != first) {
            return None;
        }
        let scopes = [self.source, self.destination].map(|host| host.and_then(|host| host.scope.as_ref()));
        let mut names =
            self.interface.map(|interface| &interface.name).into_iter().chain(scopes.into_iter().flatten());
        let name = names.next();
        if names.any(|other| Some(other) != name) {
            return None;
        }
        let not = self.interface.is_some_and(|interface| interface.not);
        Some((first, name.map(|name| Interface { not, name: name.clone() })))
    }
}

/// What a draft expands to.
#[derive(Default)]
pub(super) struct Expansion {
    /// The rules, in order, without their places and numbers.
    pub rules: Vec<Rule>,
    /// The errors, in the order in which pfctl reports them.
    pub errors: Vec<String>,
    /// How much of [`MOST_RULES`] it takes.
    pub work: usize,
}

/// All rules that a draft expands to. `matched` is the value of `$nr` for the first of them, and `used` is how much
/// of [`MOST_RULES`] the input has taken so far.
pub(super) fn expand(draft: &Draft, names: Names, matched: u32, used: usize) -> Expansion {
    let mut expansion = Expansion::default();
    let combinations = draft.combinations();
    let work = combinations.saturating_mul(draft.weight());
    if work.saturating_add(used) > MOST_RULES {
        expansion.errors.push(format!("the lists expand to more than {MOST_RULES} rules"));
        return expansion;
    }
    expansion.work = work;
    let mut number = matched;
    let mut bad_netmask = false;
    for combination in 0..combinations {
        let choice = Choice::new(draft, combination);
        let Some((family, interface)) = choice.settle(draft.rule.family) else {
            continue;
        };
        let context = Context { number, first: expansion.rules.is_empty(), names };
        match build(draft, &choice, family, interface, &context) {
            Ok(rule) if !bad_netmask => {
                number += 1;
                expansion.rules.push(rule);
            }
            Ok(_) => expansion.errors.push("skipping rule due to errors".to_owned()),
            Err(errors) => {
                // After an invalid netmask or type pfctl skips the remaining combinations too.
                bad_netmask = bad_netmask || errors.fatal;
                expansion.errors.extend(errors.messages);
            }
        }
    }
    if expansion.rules.is_empty() {
        expansion.errors.push("rule expands to no valid combination".to_owned());
    }
    expansion
}

#[derive(Default)]
struct Problems {
    messages: Vec<String>,
    fatal: bool,
}

/// The context of an expanded rule.
struct Context {
    /// The value of `$nr`.
    number: u32,
    /// Whether it is the first rule of its draft.
    first: bool,
    names: Names,
}

fn build(
    draft: &Draft,
    choice: &Choice<'_>,
    family: Option<Family>,
    interface: Option<Interface>,
    context: &Context,
) -> Result<Rule, Problems> {
    let mut problems = Problems::default();
    let mut rule = draft.rule.clone();
    rule.family = family;
    rule.interface = interface;
    rule.protocol = choice.protocol;
    rule.source = endpoint(choice.source, choice.source_port, family, &mut problems);
    rule.destination = endpoint(choice.destination, choice.destination_port, family, &mut problems);
    rule.os = choice.os.cloned();
    rule.user = choice.user;
    rule.group = choice.group;
    rule.icmp = choice.icmp.map(|(_, icmp)| icmp);
    if rule.protocol.is_some_and(|protocol| protocol != TCP) {
        rule.tcp_flags = None;
        if matches!(rule.state, StateKind::Modulate | StateKind::Synproxy) {
            rule.state = StateKind::Keep;
        }
    }
    if let Some((implied, _)) = choice.icmp
        && rule.protocol != Some(implied)
    {
        problems.fatal = true;
        problems.messages.push("icmp-type mismatch".to_owned());
    }
    if let Some(call) = &mut rule.anchor
        && !context.first
        && !call.name.is_empty()
    {
        call.body = None;
    }
    forget_other_family(&mut rule);
    fill_pool(&mut rule, draft, &mut problems);
    fill_variables(&mut rule, choice, context, &mut problems);
    if rule.anchor.is_none() || matches!(rule.action, Action::Pass | Action::Rdr) {
        check(&rule, &mut problems.messages);
    }
    if problems.messages.is_empty() { Ok(rule) } else { Err(problems) }
}

/// The answer for the other family can never be used, so its code is reset to the default.
fn forget_other_family(rule: &mut Rule) {
    if let Action::Block(Block::ReturnIcmp { icmp, icmp6 }) = &mut rule.action {
        match rule.family {
            Some(Family::Inet) => *icmp6 = PORT_UNREACHABLE6,
            Some(Family::Inet6) => *icmp = PORT_UNREACHABLE,
            None => {}
        }
    }
}

fn endpoint(
    host: Option<&Host>,
    port: Option<PortMatch>,
    family: Option<Family>,
    problems: &mut Problems,
) -> HostMatch {
    let Some(host) = host else {
        return HostMatch { not: false, address: Address::Any, port };
    };
    let address = host.finish(family).unwrap_or_else(|message| {
        problems.fatal = true;
        problems.messages.push(message);
        Address::Any
    });
    HostMatch { not: host.not, address, port }
}

fn fill_pool(rule: &mut Rule, draft: &Draft, problems: &mut Problems) {
    let family = rule.family;
    let pool = match (&mut rule.route, &mut rule.redirect) {
        (Some(route), _) => &mut route.pool,
        (None, Some(pool)) => pool,
        (None, None) => return,
    };
    for host in &draft.pool {
        match host.finish(family) {
            Ok(address) => pool.hosts.push(PoolHost { interface: host.interface.clone(), address }),
            Err(message) => problems.messages.push(message),
        }
    }
}

/// Substitutes `$if`, `$srcaddr` and so on in labels and tags.
fn fill_variables(rule: &mut Rule, choice: &Choice<'_>, context: &Context, problems: &mut Problems) {
    let texts =
        [rule.label.as_deref(), rule.tag.as_deref(), rule.tagged.as_ref().map(|tagged| tagged.tag.as_str())];
    if !texts.iter().flatten().any(|text| text.contains('$')) {
        return;
    }
    let interface = rule.interface.as_ref().map_or("any", |interface| &interface.name).to_owned();
    let protocol = rule.protocol.unwrap_or(0);
    let values = [
        ("$if", interface),
        ("$srcaddr", address_variable(choice.source, rule.family)),
        ("$dstaddr", address_variable(choice.destination, rule.family)),
        ("$srcport", port_variable(rule.source.port)),
        ("$dstport", port_variable(rule.destination.port)),
        ("$proto", context.names.protocol_name(protocol).map_or_else(|| protocol.to_string(), str::to_owned)),
        ("$nr", context.number.to_string()),
    ];
    let mut fill = |text: &mut String| {
        for (variable, value) in &values {
            if text.contains(variable) {
                *text = text.replace(variable, value);
            }
        }
        if text.len() > LONGEST_LABEL {
            problems.messages.push(format!("label or tag too long with its variables: `{text}`"));
        }
    };
    rule.label.iter_mut().for_each(&mut fill);
    rule.tag.iter_mut().for_each(&mut fill);
    rule.tagged.iter_mut().for_each(|tagged| fill(&mut tagged.tag));
    rule.label = rule.label.take().filter(|label| !label.is_empty());
    rule.tag = rule.tag.take().filter(|tag| !tag.is_empty());
    rule.tagged = rule.tagged.take().filter(|tagged| !tagged.tag.is_empty());
}

fn address_variable(host: Option<&Host>, family: Option<Family>) -> String {
    let Some(host) = host else { return "any".to_owned() };
    let text = match &host.address {
        Address::Dynamic(dynamic) => format!("({})", dynamic.interface),
        Address::Table(name) => format!("<{name}>"),
        Address::NoRoute => "no-route".to_owned(),
        Address::UrpfFailed => "urpf-failed".to_owned(),
        Address::Any => "any".to_owned(),
        Address::Prefix { address, prefix } => {
            let full = if family == Some(Family::Inet) { 32 } else { 128 };
            if *prefix == 0 && address.is_unspecified() {
                "any".to_owned()
            } else if *prefix < full {
                format!("{}/{prefix}", super::print::ip(*address))
            } else {
                super::print::ip(*address)
            }
        }
        Address::Range(..) | Address::RouteLabel(_) => "?".to_owned(),
    };
    if host.not { format!("! {text}") } else { text }
}

fn port_variable(port: Option<PortMatch>) -> String {
    match port {
        None | Some(NumberMatch::Range(..)) => String::new(),
        Some(NumberMatch::Equal(a)) => a.to_string(),
        Some(NumberMatch::NotEqual(a)) => format!("!={a}"),
        Some(NumberMatch::Less(a)) => format!("<{a}"),
        Some(NumberMatch::LessEqual(a)) => format!("<={a}"),
        Some(NumberMatch::Greater(a)) => format!(">{a}"),
        Some(NumberMatch::GreaterEqual(a)) => format!(">={a}"),
        Some(NumberMatch::Inside(a, b)) => format!("{a}><{b}"),
        Some(NumberMatch::Outside(a, b)) => format!("{a}<>{b}"),
    }
}

/// Reports contradictions within a rule.
fn check(rule: &Rule, problems: &mut Vec<String>) {
    match rule.action {
        Action::Rdr | Action::NoRdr => check_rdr(rule, problems),
        Action::Nat | Action::NoNat | Action::Binat | Action::NoBinat => {}
        _ => check_filter(rule, problems),
    }
}

fn check_rdr(rule: &Rule, problems: &mut Vec<String>) {
    let ports = matches!(rule.protocol, Some(TCP | UDP));
    if !ports && rule.source.port.is_some() {
        problems.push("src port only applies to tcp/udp".to_owned());
    }
    if !ports && rule.destination.port.is_some() {
        problems.push("dst port only applies to tcp/udp".to_owned());
    }
    if !ports && rule.redirect.as_ref().is_some_and(|pool| pool.ports.is_some()) {
        problems.push("rpool port only applies to tcp/udp".to_owned());
    }
    if !matches!(rule.destination.port, None | Some(NumberMatch::Equal(_) | NumberMatch::Range(..))) {
        problems.push("invalid port operator for rdr destination port".to_owned());
    }
}

fn check_filter(rule: &Rule, problems: &mut Vec<String>) {
    let mut problem = |found: bool, message: &str| {
        if found {
            problems.push(message.to_owned());
        }
    };
    let port = rule.source.port.is_some() || rule.destination.port.is_some();
    let icmp = matches!(rule.protocol, Some(ICMP | ICMP6));
    let options = &rule.state_options;
    problem(port && !matches!(rule.protocol, Some(TCP | UDP)), "port only applies to tcp/udp");
    // pfctl accepts this in a list of protocols, but no packet matches the rule, and it cannot read its own output
    // for it.
    problem(
        rule.os.is_some() && !matches!(rule.protocol, None | Some(TCP)),
        "OS fingerprinting only applies to tcp",
    );
    problem(rule.icmp.is_some() && !icmp, "icmp-type/code only applies to icmp");
    problem(rule.icmp.is_some() && rule.family.is_none(), "must indicate address family with icmp-type/code");
    problem(
        options.overload.is_some() && options.max_src_conn == 0 && options.max_src_conn_rate.is_none(),
        "`overload` requires `max-src-conn` or `max-src-conn-rate`",
    );
    problem(
        rule.protocol == Some(ICMP) && rule.family == Some(Family::Inet6),
        "proto icmp doesn't match address family inet6",
    );
    problem(
        rule.protocol == Some(ICMP6) && rule.family == Some(Family::Inet),
        "proto icmp6 doesn't match address family inet",
    );
    problem(
        rule.allow_opts && !matches!(rule.action, Action::Pass | Action::Dummynet | Action::NoDummynet),
        "allow-opts can only be specified for pass rules",
    );
    problem(
        rule.fragment && (port || rule.tcp_flags.is_some_and(|flags| flags.mask != 0) || rule.icmp.is_some()),
        "fragments can be filtered only on IP header fields",
    );
    problem(
        matches!(rule.action, Action::Block(Block::ReturnRst { .. })) && rule.protocol != Some(TCP),
        "return-rst can only be applied to TCP rules",
    );
    problem(
        options.max_src_nodes != 0 && options.source_track != Some(SourceTrack::Rule),
        "max-src-nodes requires `source-track rule`",
    );
    problem(
        matches!(rule.action, Action::Block(_)) && rule.state != StateKind::None,
        "keep state on block rules doesn't make sense",
    );
}
