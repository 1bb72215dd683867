//! The policy as functions of all packets: the table of what is permitted, row by row, where the first match decides.
//!
//! The policy itself answers for one packet ([`Policy::decide`]); this module computes the same for all packets at
//! once. The proof asks both about a packet of every region, so that an error in one is found by the other.
//!
//! [`Policy::decide`]: crate::plan::Policy::decide

use std::net::IpAddr;

use super::outcome::{HookOutcome, Outcomes};
use super::world::World;
use crate::packets::{
    Field, FirstMatchRow, Map, PacketDirection, PacketFamily, Set, Side, Space, WitnessPacket,
};
use crate::plan::Plan;
use crate::plan::policy::{
    ACK, FIN, ICMP, ICMP_ERRORS, NetworkPart, PUSH, Parts, PolicyInterface, PolicyVerdict, RST, Refusal, SYN,
    TCP, Translation, UDP, UNREACHABLE, URG,
};
use crate::reach::ends::{MergedLink, Sets, addresses, links, service};

/// Whether and how fragments are reassembled: the values of a reassembly function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FragmentTreatment {
    /// They are not.
    AsTheyAre,
    /// They are.
    Together,
    /// They are, and the don't-fragment bit is cleared.
    WithoutDf,
}

impl FragmentTreatment {
    /// By number, as the function has them.
    const ALL: [Self; 3] = [Self::AsTheyAre, Self::Together, Self::WithoutDf];

    /// The function that has this value everywhere.
    pub fn constant(self) -> Map {
        Map::constant(self as u32)
    }

    /// The value with a number.
    pub const fn of(number: u32) -> Self {
        Self::ALL[number as usize]
    }

    /// Whether fragments are held until their datagram is complete.
    pub fn is_held(self) -> bool {
        match self {
            Self::AsTheyAre => false,
            Self::Together | Self::WithoutDf => true,
        }
    }
}

/// The policy of a plan as functions of packets.
#[derive(Debug, Clone)]
pub struct Functions {
    /// The outcome of an unfragmented packet, by number in [`Outcomes`].
    pub outcome: Map,
    /// For each row, a packet that it matches, regardless of the rows before it.
    pub examples: Vec<WitnessPacket>,
    /// Whether and how fragments are reassembled, by number in [`FragmentTreatment`].
    pub reassembly: Map,
    /// The number of the pipe that a packet goes through; 0 means none.
    pub pipe: Map,
    /// The packets between addresses of one provider of this Mac.
    pub within: Set,
    /// The packets to a provider's network, without what `allowOverlap` gives away.
    pub inward: Set,
    /// The packets whose translation the anchor must decide, so that no other anchor's applies.
    pub settled: Set,
}

/// Converts a plan's policy into functions.
pub fn functions(space: &mut Space, plan: &Plan, world: &World, outcomes: &mut Outcomes) -> Functions {
    let parts = plan.policy.parts();
    let ends = Sets::of(space, &parts);
    let hooks = Hooks::of(space, world, plan.bridges.len());
    let errors = errors(space);
    let mut table =
        Table { space, parts: &parts, ends, hooks, outcomes, rows: Vec::new(), examples: Vec::new(), errors };
    let reassembly = table.reassembly(world);
    table.fill();
    table.rows.reverse();
    let outcome = table.space.first_match(&table.rows);
    let malformed = malformed(table.space);
    let put_together = table.space.select(reassembly, |how| FragmentTreatment::of(how).is_held());
    let malformed = table.space.and(malformed, put_together);
    let outcome = table.outcomes.without(table.space, outcome, malformed);
    let pipe = table.pipes();
    let within = table.inside();
    let inward = table.ends.to_any;
    let settled = table.settled();
    Functions { outcome, examples: table.examples, reassembly, pipe, within, inward, settled }
}

/// The sets of packets at each kind of hook.
struct Hooks {
    out: Set,
    lo0: Set,
    egress: Set,
    foreign: Set,
    mesh: Set,
    /// By the bridge's index in the plan.
    bridges: Vec<Set>,
}

impl Hooks {
    fn of(space: &mut Space, world: &World, bridges: usize) -> Self {
        let out = space.direction(PacketDirection::Out);
        let mut hooks = Self {
            out,
            lo0: Set::NONE,
            egress: Set::NONE,
            foreign: Set::NONE,
            mesh: Set::NONE,
            bridges: vec![Set::NONE; bridges],
        };
        for (name, kind) in world.interfaces() {
            let on = space.interface(name);
            match kind {
                PolicyInterface::Loopback => hooks.lo0 = on,
                PolicyInterface::Egress => hooks.egress = space.or(hooks.egress, on),
                PolicyInterface::Foreign => hooks.foreign = space.or(hooks.foreign, on),
                PolicyInterface::Mesh => hooks.mesh = on,
                PolicyInterface::Bridge(index) => hooks.bridges[index] = on,
                PolicyInterface::New => {}
            }
        }
        hooks
    }
}

struct Table<'a> {
    space: &'a mut Space,
    parts: &'a Parts<'a>,
    ends: Sets,
    hooks: Hooks,
    outcomes: &'a mut Outcomes,
    /// The rows so far, from the last to the first.
    rows: Vec<FirstMatchRow>,
    examples: Vec<WitnessPacket>,
    /// ICMP errors.
    errors: Set,
}

impl Table<'_> {
    /// Adds a row before all others.
    fn put(&mut self, set: Set, verdict: PolicyVerdict, translation: Option<Translation>) {
        self.put_within(set, [], verdict, translation);
    }

    /// Adds a row before all others that matches the intersection of sets: one by source, and others by fields after
    /// it, those by the last fields first.
    fn put_within<const N: usize>(
        &mut self,
        top: Set,
        rest: [Set; N],
        verdict: PolicyVerdict,
        translation: Option<Translation>,
    ) {
        let outcome = HookOutcome { verdict, translation };
        let mut then = self.outcomes.of_packets(self.space, outcome, self.errors);
        for set in rest {
            then = self.space.only(set, then);
        }
        let row = FirstMatchRow { top, then };
        self.examples.extend(self.space.any_of_row(row));
        self.rows.push(row);
    }

    fn all(&mut self, sets: impl IntoIterator<Item = Set>) -> Set {
        sets.into_iter().fold(Set::ALL, |all, set| self.space.and(all, set))
    }

    /// Adds all rows, from the last to the first.
    fn fill(&mut self) {
        let inet = self.space.family(PacketFamily::Inet);
        let (from, to) = (self.ends.from_any, self.ends.to_any);
        let (out, lo0, egress) = (self.hooks.out, self.hooks.lo0, self.hooks.egress);
        let inward = self.space.minus(inet, out);
        let wire = self.space.not(lo0);
        self.put(Set::ALL, PolicyVerdict::Untouched, None);
        // Packets to volumes from anywhere else.
        let resets = tcp_with(self.space, &[(RST, RST)]);
        let outside = self.all([to, inward, wire]);
        self.put(outside, PolicyVerdict::Drop, None);
        if let Some((_, others)) = self.parts.mesh {
            let own_to = self.on_mac(true, Side::Destination);
            let others = addresses(self.space, Side::Source, others);
            let onward = self.all([others, own_to, out]);
            self.put(onward, PolicyVerdict::Pass, None);
        }
        let this_mac = self.space.and(to, lo0);
        self.put(this_mac, PolicyVerdict::Pass, None);
        let refusal = self.all([to, lo0, inward, resets]);
        self.put(refusal, PolicyVerdict::Carry, None);
        self.outward();
        self.between(inward, wire, resets);
        self.within(lo0, wire);
        // Localhost.
        for (one, other) in [(from, Side::Destination), (to, Side::Source)] {
            let other = self.space.network(other, IpAddr::from([127, 0, 0, 0]), 8);
            let both = self.space.and(one, other);
            self.put(both, PolicyVerdict::Pass, None);
        }
        let leaks = self.all([to, out, egress]);
        self.refuse(leaks);
        self.other_macs(inward);
        self.forged(inward, wire);
        self.published();
    }

    /// The rows for providers on other Macs.
    fn other_macs(&mut self, inward: Set) {
        let Some((own_address, _)) = self.parts.mesh else { return };
        let [own_from, own_to, remote_from, remote_to] = [
            (true, Side::Source),
            (true, Side::Destination),
            (false, Side::Source),
            (false, Side::Destination),
        ]
        .map(|(is_here, side)| self.on_mac(is_here, side));
        let (out, mesh) = (self.hooks.out, self.hooks.mesh);
        let astray = self.space.minus(out, mesh);
        let astray = self.space.and(astray, remote_to);
        self.refuse(astray);
        let leaving = self.space.and(out, mesh);
        let stray = self.space.minus(self.ends.to_any, own_from);
        let stray = self.space.and(stray, leaving);
        self.refuse(stray);
        let beside = self.space.minus(own_from, remote_to);
        let beside = self.space.and(beside, leaving);
        self.refuse(beside);
        let this_mac = addresses(self.space, Side::Source, [&own_address]);
        let this_mac = self.all([this_mac, remote_to, leaving]);
        self.put(this_mac, PolicyVerdict::Pass, None);
        if let Some(from_macs) = self.sent_by_other_macs(inward) {
            self.put(from_macs, PolicyVerdict::Pass, None);
        }
        let arriving = self.space.and(inward, mesh);
        let forged = self.space.and(own_from, arriving);
        self.put(forged, PolicyVerdict::Drop, None);
        let elsewhere = self.space.minus(remote_from, own_to);
        self.put(elsewhere, PolicyVerdict::Drop, None);
    }

    /// The packets out of the tunnel from other Macs themselves to volumes of this Mac.
    fn sent_by_other_macs(&mut self, inward: Set) -> Option<Set> {
        let (_, others) = self.parts.mesh?;
        let others = addresses(self.space, Side::Source, others);
        let own_to = self.on_mac(true, Side::Destination);
        Some(self.all([others, own_to, inward, self.hooks.mesh]))
    }

    /// The packets from or to providers that are on this Mac, or on others.
    fn on_mac(&mut self, is_here: bool, side: Side) -> Set {
        let sets = if side == Side::Source { &self.ends.from } else { &self.ends.to };
        let networks = self.parts.networks.iter().zip(sets);
        let meant: Vec<Set> =
            networks.filter(|(network, _)| network.is_here == is_here).map(|(_, set)| *set).collect();
        self.space.union(&meant)
    }

    /// Refuses packets on their way out of an interface whose checksums the hardware may complete. TCP is answered by
    /// ICMP there, not by an RST.
    fn refuse(&mut self, set: Set) {
        self.put(set, PolicyVerdict::Refuse(Refusal::Usual), None);
        let tcp = self.space.number_is(Field::Protocol, TCP);
        let tcp = self.space.and(set, tcp);
        self.put(tcp, PolicyVerdict::Refuse(Refusal::Icmp), None);
    }

    fn forged(&mut self, inward: Set, wire: Set) {
        let (from_any, to_any) = (self.ends.from_any, self.ends.to_any);
        for (index, network) in self.parts.networks.iter().enumerate().filter(|(_, it)| it.is_here) {
            let own = self.ends.from[index];
            let on = self.hooks.bridges[network.bridge];
            let forged = self.space.and(inward, on);
            let forged = self.space.minus(forged, own);
            self.put_within(forged, [to_any], PolicyVerdict::Drop, None);
        }
        let here = addresses(self.space, Side::Source, self.parts.here);
        let here = self.all([here, inward, wire]);
        self.put(here, PolicyVerdict::Drop, None);
        let outside = self.space.or(self.hooks.egress, self.hooks.foreign);
        let forged = self.all([from_any, inward, outside]);
        self.put(forged, PolicyVerdict::Drop, None);
    }

    /// From volumes to the outside.
    fn outward(&mut self) {
        let (out, lo0, egress) = (self.hooks.out, self.hooks.lo0, self.hooks.egress);
        let networks = self.parts.networks.iter().zip(&self.ends.from);
        let (online, offline): (Vec<_>, Vec<_>) = networks.partition(|(network, _)| network.internet);
        let sets =
            |list: Vec<(&NetworkPart, &Set)>| list.into_iter().map(|(_, set)| *set).collect::<Vec<_>>();
        let (online, offline) = (self.space.union(&sets(online)), self.space.union(&sets(offline)));
        self.put(online, PolicyVerdict::Pass, None);
        let leaving = self.all([online, out, egress]);
        self.put(leaving, PolicyVerdict::Pass, Some(Translation::EgressSource));
        self.put(offline, PolicyVerdict::Refuse(Refusal::Usual), None);
        let leaving = self.all([offline, out, egress]);
        self.refuse(leaving);
        let local = self.all([offline, out, lo0]);
        self.put(local, PolicyVerdict::Carry, None);
    }

    fn between(&mut self, inward: Set, wire: Set, resets: Set) {
        let (out, lo0) = (self.hooks.out, self.hooks.lo0);
        let volumes = self.space.and(self.ends.from_any, self.ends.to_any);
        self.put(volumes, PolicyVerdict::Refuse(Refusal::Usual), None);
        let leaving = self.all([volumes, out, wire]);
        self.refuse(leaving);
        let local = self.all([volumes, out, lo0]);
        self.put(local, PolicyVerdict::Carry, None);
        let reset = self.all([volumes, inward, lo0, resets]);
        self.put(reset, PolicyVerdict::Carry, None);
        let unreachable = icmp(self.space, &[UNREACHABLE]);
        let either = self.space.or(out, lo0);
        let unreachable = self.all([volumes, either, unreachable]);
        self.put(unreachable, PolicyVerdict::Carry, None);
        self.links();
    }

    /// What links cover.
    fn links(&mut self) {
        // Masqueraded packets take precedence (their rows are put last): they pass whatever their TCP flags.
        let opens = self.opens();
        let out = self.hooks.out;
        let mut rows = Vec::new();
        for (MergedLink { masquerade, protocol, ports }, from, to) in links(self.parts) {
            let service = service(self.space, protocol, ports);
            let sources = self.ends.ends(self.space, Side::Source, &from);
            let destinations = self.ends.ends(self.space, Side::Destination, &to);
            self.put_within(sources, [opens, service, destinations], PolicyVerdict::Pass, None);
            if masquerade {
                // The Mac of the receiver masquerades.
                let mut to = to.clone();
                let networks = &self.parts.networks;
                to.networks.retain(|network| networks[*network].is_here);
                to.volumes.retain(|address| {
                    networks.iter().any(|network| network.is_here && network.region.contains(*address))
                });
                rows.push((sources, service, to));
            }
        }
        for (sources, service, to) in rows {
            let sources = self.space.and(out, sources);
            for (network, set) in self.ends.by_network(self.space, self.parts, &to) {
                let translation = Translation::GatewaySource(self.parts.networks[network].gateway);
                self.put_within(sources, [service, set], PolicyVerdict::Pass, Some(translation));
            }
        }
    }

    /// The packets between addresses of one provider of this Mac.
    fn inside(&mut self) -> Set {
        let pairs = self.parts.networks.iter().zip(self.ends.from.iter().zip(&self.ends.to));
        let own: Vec<(Set, Set)> =
            pairs.filter(|(network, _)| network.is_here).map(|(_, (from, to))| (*from, *to)).collect();
        let pairs: Vec<Set> = own.into_iter().map(|(from, to)| self.space.and(from, to)).collect();
        self.space.union(&pairs)
    }

    fn within(&mut self, lo0: Set, wire: Set) {
        for (index, _) in self.parts.networks.iter().enumerate().filter(|(_, it)| it.is_here) {
            let (from, to) = (self.ends.from[index], self.ends.to[index]);
            for (hooks, verdict) in [(lo0, PolicyVerdict::Carry), (wire, PolicyVerdict::Pass)] {
                let from = self.space.and(hooks, from);
                self.put_within(from, [to], verdict, None);
            }
        }
    }

    fn published(&mut self) {
        let inward = self.space.minus(self.hooks.lo0, self.hooks.out);
        for ((alias, port), volume) in self.parts.publishes {
            let alias = self.space.network(Side::Destination, (*alias).into(), 32);
            let service = service(self.space, Some(TCP), Some(&[(*port, *port)]));
            let set = self.all([inward, service, alias]);
            self.put(set, PolicyVerdict::Pass, Some(Translation::Published(*volume)));
        }
    }

    /// What comes in on lo0 for a volume: another program's `rdr` must not take its ports.
    fn settled(&mut self) -> Set {
        let inward = self.space.minus(self.hooks.lo0, self.hooks.out);
        self.space.and(inward, self.ends.to_any)
    }

    /// All packets except TCP segments that do not open a connection.
    fn opens(&mut self) -> Set {
        let opening = tcp_with(self.space, &[(SYN, SYN | ACK)]);
        let tcp = self.space.number_is(Field::Protocol, TCP);
        let goes_on = self.space.minus(tcp, opening);
        self.space.not(goes_on)
    }

    /// Which packets are reassembled from fragments, and how.
    fn reassembly(&mut self, world: &World) -> Map {
        let (from, to, out) = (self.ends.from_any, self.ends.to_any, self.hooks.out);
        let inet = self.space.family(PacketFamily::Inet);
        let inward = self.space.minus(inet, out);
        let wire = self.space.not(self.hooks.lo0);
        let (together, without_df) =
            (FragmentTreatment::Together.constant(), FragmentTreatment::WithoutDf.constant());
        let mut how = FragmentTreatment::AsTheyAre.constant();
        // UDP and ICMP replies from outside, to the address of an egress interface.
        let protocols =
            self.space.numbers(Field::Protocol, &[(ICMP.into(), ICMP.into()), (UDP.into(), UDP.into())]);
        if self.parts.networks.iter().any(|network| network.is_here && network.internet) {
            for (name, _) in world.interfaces() {
                let Some(address) = world.address_of(name) else { continue };
                let on = self.space.interface(name);
                let own = self.space.network(Side::Destination, address.into(), 32);
                let answers = self.all([inward, on, own, protocols]);
                how = self.space.choose(answers, without_df, how);
            }
        }
        if let Some(from_macs) = self.sent_by_other_macs(inward) {
            how = self.space.choose(from_macs, together, how);
        }
        let sent = self.all([inward, wire, from]);
        how = self.space.choose(sent, together, how);
        let udp = self.space.number_is(Field::Protocol, UDP);
        let datagrams = self.all([inward, from, to, udp]);
        how = self.space.choose(datagrams, without_df, how);
        let between = self.all([out, wire, from, to]);
        how = self.space.choose(between, without_df, how);
        let offline =
            self.parts.networks.iter().zip(&self.ends.from).filter(|(it, _)| it.is_here && !it.internet);
        let offline: Vec<Set> = offline.map(|(_, set)| *set).collect();
        let offline = self.space.union(&offline);
        let leaks = self.space.or(to, offline);
        let leaks = self.all([out, self.hooks.egress, leaks]);
        self.space.choose(leaks, without_df, how)
    }

    /// The pipe of a packet. It counts once: on the way out, or where it arrives by wire for an address of the Mac.
    fn pipes(&mut self) -> Map {
        let pipe = self.ends.pipes(self.space, self.parts);
        if self.parts.ways.is_empty() {
            return pipe;
        }
        let here = addresses(self.space, Side::Destination, self.parts.here);
        let wire = self.space.not(self.hooks.lo0);
        let arrives = self.space.and(wire, here);
        let last = self.space.or(self.hooks.out, arrives);
        self.space.choose(last, pipe, Map::constant(0))
    }
}

/// TCP segments whose flags make no sense: none of SYN, RST and ACK; both SYN and RST; PUSH or URG without ACK; or FIN
/// with neither SYN nor ACK.
pub fn malformed(space: &mut Space) -> Set {
    let without_ack = |flag: u8| (flag, flag | ACK);
    let nonsense = [
        (0, SYN | RST | ACK),
        (SYN | RST, SYN | RST),
        without_ack(PUSH),
        without_ack(URG),
        (FIN, FIN | SYN | ACK),
    ];
    tcp_with(space, &nonsense)
}

fn tcp_with(space: &mut Space, flags: &[(u8, u8)]) -> Set {
    let mut any = Set::NONE;
    for (bits, mask) in flags {
        let some = space.masked(Field::Flags, *bits, *mask);
        any = space.or(any, some);
    }
    let tcp = space.number_is(Field::Protocol, TCP);
    space.and(tcp, any)
}

/// ICMP errors, for which pf creates no state.
pub fn errors(space: &mut Space) -> Set {
    icmp(space, &ICMP_ERRORS)
}

fn icmp(space: &mut Space, kinds: &[u8]) -> Set {
    let ranges: Vec<(u128, u128)> = kinds.iter().map(|kind| (u128::from(*kind), u128::from(*kind))).collect();
    let kinds = space.numbers(Field::IcmpType, &ranges);
    let icmp = space.number_is(Field::Protocol, ICMP);
    space.and(icmp, kinds)
}
