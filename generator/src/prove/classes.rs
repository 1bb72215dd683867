//! Classes of packets: everything that the rules or the policy tell apart, and nothing else.
//!
//! Sources are grouped once. For each group only the rules that can match it count, and only what these and the
//! policy tell apart of destinations and services: the work grows with the rules that matter to a source and
//! not with all pairs of addresses.

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::compare::{Comparison, Services};
use super::space::{Set, Space, refine};
use super::{EGRESS, Violation};
use crate::pf::eval::{CompiledRule, List, Machine, Ranges, bits_of};
use crate::pf::syntax::{Address, Family};
use crate::plan::Plan;

/// At least so many groups of sources are worth a thread.
const GROUPS_A_THREAD: usize = 200;
/// So many violations are told; who has more has them all over the place.
const MOST: usize = 25;

/// The lists that a proof is about.
const LISTS: [List; 4] = [List::Nat, List::Rdr, List::Filter, List::Dummynet];

pub struct Classes<'a> {
    plan: &'a Plan,
    machine: Machine,
    egress: Ipv4Addr,
    space: Space,
    /// The sets of addresses that rules name, each once.
    sets: Vec<Set>,
    /// The networks and addresses that the policy tells apart.
    constants: Vec<Set>,
    /// The rules of each list.
    lists: [Vec<Matcher>; 4],
    interfaces: Vec<String>,
}

/// A rule, and its ends as sets.
struct Matcher {
    rule: CompiledRule,
    source: usize,
    destination: usize,
}

impl<'a> Classes<'a> {
    pub fn new(plan: &'a Plan, machine: Machine, egress: Ipv4Addr) -> Self {
        let mut ranges: Vec<Ranges> = Vec::new();
        let mut known: HashMap<Vec<(u128, u128)>, usize> = HashMap::new();
        let mut number = |set: Ranges| {
            *known.entry(set.iter().collect()).or_insert_with(|| {
                ranges.push(set);
                ranges.len() - 1
            })
        };
        let loaded = machine.loaded();
        let rules = |list: List| loaded.ruleset(0).map_or(&[][..], |ruleset| ruleset.rules(list));
        let mut matcher = |rule: &CompiledRule| {
            let side =
                |side: &crate::pf::eval::Side, is_source| side.addresses(loaded, Family::Inet, is_source);
            let source = number(side(rule.source(), true).unwrap_or_default());
            let destination = number(side(rule.destination(), false).unwrap_or_default());
            Matcher { rule: rule.clone(), source, destination }
        };
        let lists = LISTS.map(|list| rules(list).iter().map(&mut matcher).collect());
        let constants: Vec<Ranges> = plan.policy.constants().into_iter().map(ranges_of).collect();
        let space = Space::cut(ranges.iter().chain(&constants));
        let sets = ranges.iter().map(|ranges| space.set(ranges)).collect();
        let constants = constants.iter().map(|ranges| space.set(ranges)).collect();
        let interfaces = interfaces(&lists);
        Self { plan, machine, egress, space, sets, constants, lists, interfaces }
    }

    /// Compares all classes; how many there were, or what is wrong.
    pub fn compare(&self) -> Result<usize, Vec<Violation>> {
        let sources: BTreeSet<usize> = self.lists.iter().flatten().map(|matcher| matcher.source).collect();
        let sources = sources.into_iter().map(|set| &self.sets[set]);
        let groups = self.space.groups(sources.chain(&self.constants));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.min(groups.len() / GROUPS_A_THREAD + 1);
        let chunks: Vec<&[u32]> = groups.chunks(groups.len().div_ceil(threads)).collect();
        let compared: Vec<Comparison> = match chunks.as_slice() {
            [all] => vec![self.compare_groups(all)],
            several => std::thread::scope(|scope| {
                let running: Vec<_> =
                    several.iter().map(|chunk| scope.spawn(|| self.compare_groups(chunk))).collect();
                running
                    .into_iter()
                    .map(|thread| thread.join().expect("a comparison does not panic"))
                    .collect()
            }),
        };
        let mut whole = Comparison::default();
        for part in compared {
            whole.take(part);
        }
        let packets = whole.violations.into_iter().map(|example| Violation::Packet(Box::new(example)));
        let astray = whole.astray.into_iter().map(|example| Violation::Pipe(Box::new(example)));
        let violations: Vec<Violation> = packets.chain(astray).take(MOST).collect();
        if violations.is_empty() { Ok(whole.classes) } else { Err(violations) }
    }

    fn compare_groups(&self, groups: &[u32]) -> Comparison {
        let mut comparison = Comparison::default();
        let mut machine = self.machine.clone();
        for source in groups {
            self.compare_source(Ipv4Addr::from(*source), &mut machine, &mut comparison);
        }
        comparison
    }

    /// Compares every packet from one group of sources.
    fn compare_source(&self, source: Ipv4Addr, machine: &mut Machine, comparison: &mut Comparison) {
        let matching = |list: usize, sources: &[Ipv4Addr]| -> Vec<&Matcher> {
            let atoms: Vec<usize> = sources.iter().map(|source| self.space.atom(*source)).collect();
            let holds = |matcher: &&Matcher| atoms.iter().any(|atom| self.sets[matcher.source].has(*atom));
            self.lists[list].iter().filter(holds).collect()
        };
        let (nat, rdr) = (matching(0, &[source]), matching(1, &[source]));
        // The filter sees what translation made of the source.
        let mut sources = vec![source];
        sources.extend(nat.iter().filter_map(|matcher| self.target(&matcher.rule)));
        let filter = matching(2, &sources);
        // Dummynet sees it as it came.
        let dummynet = matching(3, &[source]);
        for (list, matchers) in LISTS.into_iter().zip([&nat, &rdr, &filter, &dummynet]) {
            machine.replace(list, matchers.iter().map(|matcher| matcher.rule.clone()).collect());
        }
        let mut parts = vec![self.space.whole()];
        let all = || nat.iter().chain(&rdr).chain(&filter).chain(&dummynet);
        let used: BTreeSet<usize> = all().map(|matcher| matcher.destination).collect();
        for set in used {
            parts = refine(parts, &self.sets[set]);
        }
        for set in self.plan.policy.destinations_for(source) {
            parts = refine(parts, &self.space.union(&set.into_iter().map(ranges_of).collect::<Vec<_>>()));
        }
        let mut services = Services::new(self.plan, source);
        for part in &parts {
            let Some(destination) = self.space.first(part) else { continue };
            let atom = self.space.atom(Ipv4Addr::from(destination));
            // A redirection changes the destination, and then every rule may come into play.
            let redirected = rdr.iter().any(|matcher| self.sets[matcher.destination].has(atom));
            let rules: Vec<&CompiledRule> = all()
                .filter(|matcher| redirected || self.sets[matcher.destination].has(atom))
                .map(|matcher| &matcher.rule)
                .collect();
            let packets = services.of(self.plan, &rules, &self.interfaces);
            comparison.compare(self.plan, machine, self.egress, (source, destination.into()), &packets);
        }
    }

    /// The address that a translation gives to the source.
    fn target(&self, rule: &CompiledRule) -> Option<Ipv4Addr> {
        match &rule.syntax().redirect.as_ref()?.hosts.first()?.address {
            Address::Prefix { address: std::net::IpAddr::V4(address), .. } => Some(*address),
            Address::Dynamic(_) => Some(self.egress),
            _ => None,
        }
    }
}

/// The interfaces that are told apart: lo0, the way out, any other, and whatever rules name.
fn interfaces(lists: &[Vec<Matcher>; 4]) -> Vec<String> {
    let named = lists.iter().flatten().filter_map(|matcher| matcher.rule.syntax().interface.as_ref());
    let mut known: Vec<String> = ["lo0", EGRESS, "bridge2000"].map(str::to_owned).to_vec();
    for interface in named {
        if !known.contains(&interface.name) {
            known.push(interface.name.clone());
        }
    }
    known
}

fn ranges_of(net: Ipv4Net) -> Ranges {
    Ranges::prefix(Family::Inet, bits_of(net.network().into()), net.prefix_len())
}
