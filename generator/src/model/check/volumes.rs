//! Checks volumes: addresses inside their provider's network, localhost aliases, published ports, mount points.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::networks::edge;
use super::{AbsolutePath, Check};
use crate::input::{self, ProviderAttachment, VolumeAttachment, nearest};
use crate::model::free::FreeAddresses;
use crate::model::{Guest, InterfaceName, Localhost, MacAddress, Name, Provider, Volume};
use crate::place::At;
use crate::problem::{Problem, ProblemKind};

/// The addresses in use, with the volumes that have them.
struct Taken<'a> {
    by: BTreeMap<Ipv4Addr, &'a str>,
    /// Free addresses by provider, computed when a hint first needs them.
    free: BTreeMap<&'a str, FreeAddresses>,
}

impl<'a> Taken<'a> {
    /// All addresses that volumes declare, valid or not: a hint must not propose one of them.
    fn asked(volumes: impl Iterator<Item = Option<&'a str>>) -> BTreeSet<Ipv4Addr> {
        volumes.flatten().filter_map(|text| text.parse().ok()).collect()
    }
}

impl<'a> Check<'a> {
    pub(super) fn volumes(
        &mut self,
        providers: &BTreeMap<String, Option<Provider>>,
        localhost: Option<&Localhost>,
    ) -> BTreeMap<String, Option<Volume>> {
        let input = self.input;
        let mut addresses = Taken { by: BTreeMap::new(), free: BTreeMap::new() };
        let mut aliases = Taken { by: BTreeMap::new(), free: BTreeMap::new() };
        let mut macs = BTreeMap::new();
        let check = |(name, raw): (&'a String, &'a input::RawVolume)| {
            let provider = self.provider_of(name, raw);
            let address = self.address(name, raw, providers, &mut addresses);
            let alias = self.alias(name, raw, localhost, &mut aliases);
            let owner = raw.provider.as_deref().and_then(|owner| providers.get(owner)?.as_ref());
            let guest = self.guest(name, raw, owner, &mut macs);
            let volume = self.volume(name, raw, (provider, address, alias), guest);
            (name.clone(), volume)
        };
        input.volumes.iter().flatten().map(check).collect()
    }

    fn volume(
        &mut self,
        name: &str,
        raw: &input::RawVolume,
        (provider, address, localhost): (Option<Name>, Option<Ipv4Addr>, Option<Ipv4Addr>),
        guest: Option<Guest>,
    ) -> Option<Volume> {
        let at = At::of(&["volumes", name]);
        let attachment = self.word(
            &at.child("attachment"),
            raw.attachment.as_deref(),
            VolumeAttachment::Host,
            VolumeAttachment::from_word,
            VolumeAttachment::WORDS,
        );
        let mount_point = raw
            .mount_point
            .as_deref()
            .and_then(|path| self.path_at(&at.child("mountPoint"), path, AbsolutePath::new));
        let publish = self.publish(name, raw, localhost);
        if attachment == VolumeAttachment::Guest && !publish.is_empty() {
            let ports = publish.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            let kind = ProblemKind::PublishOnGuest { volume: name.to_owned(), address, ports };
            self.wrong(at.child("publish"), kind);
        }
        Some(Volume {
            provider: provider?,
            address: address?,
            localhost,
            attachment,
            publish,
            mount_point,
            guest: guest?,
        })
    }

    /// The properties of the VM. Unless declared, its name server is the gateway if vmnet creates the bridge.
    fn guest(
        &mut self,
        name: &'a str,
        raw: &input::RawVolume,
        owner: Option<&Provider>,
        macs: &mut BTreeMap<MacAddress, &'a str>,
    ) -> Option<Guest> {
        let at = At::of(&["volumes", name, "guest"]);
        let of_vmnet = owner.filter(|owner| owner.attachment == ProviderAttachment::Vmnet);
        let default = || of_vmnet.map(|owner| owner.gateway.addr()).into_iter().collect();
        let Some(raw) = &raw.guest else {
            return Some(Guest { mac: None, interface: None, dns: default() });
        };
        let mac = raw.mac.as_deref().map(|found| self.mac(&at.child("mac"), name, found, macs));
        let interface = raw.interface.as_deref().map(|found| {
            let interface = InterfaceName::new(found);
            if interface.is_none() {
                self.wrong(at.child("interface"), ProblemKind::Interface { found: found.to_owned() });
            }
            interface
        });
        let at = at.child("dns");
        let dns = raw.dns.as_ref().map(|servers| {
            let server = |(index, text): (usize, &Option<String>)| {
                self.parse_address(&at.child(index), text.as_deref()?)
            };
            servers.iter().enumerate().map(server).collect::<Option<Vec<_>>>()
        });
        let dns = match dns {
            None => default(),
            Some(servers) => servers?,
        };
        let mac = match mac {
            None => None,
            Some(mac) => Some(mac?),
        };
        let interface = match interface {
            None => None,
            Some(interface) => Some(interface?),
        };
        Some(Guest { mac, interface, dns })
    }

    fn mac(
        &mut self,
        at: &At,
        name: &'a str,
        found: &str,
        macs: &mut BTreeMap<MacAddress, &'a str>,
    ) -> Option<MacAddress> {
        let mac = match MacAddress::new(found) {
            Ok(mac) => mac,
            Err(reason) => {
                self.wrong(at, ProblemKind::Mac { found: found.to_owned(), reason });
                return None;
            }
        };
        if let Some(by) = macs.get(&mac) {
            let kind = ProblemKind::MacTaken { mac: mac.as_str().to_owned(), by: (*by).to_owned() };
            let with = At::of(&["volumes", by, "guest", "mac"]).path();
            self.problems.push(Problem::new(at, kind).with(with));
            return None;
        }
        macs.insert(mac.clone(), name);
        Some(mac)
    }

    fn provider_of(&mut self, name: &str, raw: &input::RawVolume) -> Option<Name> {
        let found = raw.provider.as_deref()?;
        let declared = self.input.providers.as_ref()?;
        if !declared.contains_key(found) {
            let nearest = nearest(found, declared.keys().map(String::as_str)).map(str::to_owned);
            let kind = ProblemKind::UnknownProvider { found: found.to_owned(), nearest };
            self.wrong(At::of(&["volumes", name, "provider"]), kind);
            return None;
        }
        Name::new(found, Name::LONGEST)
    }

    fn parse_address(&mut self, at: &At, text: &str) -> Option<Ipv4Addr> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(at, ProblemKind::NotAnAddress { found: text.to_owned() });
        }
        parsed
    }

    fn address(
        &mut self,
        name: &'a str,
        raw: &'a input::RawVolume,
        providers: &BTreeMap<String, Option<Provider>>,
        taken: &mut Taken<'a>,
    ) -> Option<Ipv4Addr> {
        let at = At::of(&["volumes", name, "address"]);
        let address = self.parse_address(&at, raw.address.as_deref()?)?;
        let owner = raw.provider.as_deref().and_then(|owner| Some((owner, providers.get(owner)?.as_ref()?)));
        let volumes = self.input.volumes.as_ref()?;
        let free = |taken: &mut Taken<'a>| {
            let (owner, provider) = owner?;
            let asked = || Taken::asked(volumes.values().map(|volume| volume.address.as_deref()));
            let make = || FreeAddresses::new(provider.network, provider.gateway, asked());
            taken.free.entry(owner).or_insert_with(make).take()
        };
        if let Some((owner, provider)) = owner {
            let network = provider.network;
            if !network.contains(&address) {
                let kind = ProblemKind::AddressOutside {
                    address,
                    provider: owner.to_owned(),
                    network,
                    free: free(taken),
                };
                let with = At::of(&["providers", owner, "network"]);
                self.problems.push(Problem::new(at, kind).with(with));
            } else if address == provider.gateway.addr() {
                let kind = ProblemKind::AddressIsGateway { address, of: owner.to_owned(), free: free(taken) };
                let with = At::of(&["providers", owner, "gateway"]);
                self.problems.push(Problem::new(at, kind).with(with));
            } else if let Some(kind) = edge(address, network).or_else(|| edge(address, provider.gateway)) {
                self.wrong(at, kind);
            }
        }
        if let Some(by) = taken.by.get(&address).map(|by| (*by).to_owned()) {
            let with = At::of(&["volumes", &by, "address"]).path();
            let kind = ProblemKind::AddressTaken { address, by, free: free(taken) };
            self.problems.push(Problem::new(at, kind).with(with));
        } else {
            taken.by.insert(address, name);
        }
        Some(address)
    }

    fn alias(
        &mut self,
        name: &'a str,
        raw: &'a input::RawVolume,
        localhost: Option<&Localhost>,
        taken: &mut Taken<'a>,
    ) -> Option<Ipv4Addr> {
        let at = At::of(&["volumes", name, "localhost"]);
        let alias = self.parse_address(&at, raw.localhost.as_deref()?)?;
        let gateway = localhost.map(|group| group.gateway);
        let volumes = self.input.volumes.as_ref()?;
        let free = |taken: &mut Taken<'a>| {
            let make = |gateway| {
                let mut asked = Taken::asked(volumes.values().map(|volume| volume.localhost.as_deref()));
                asked.insert(Ipv4Addr::LOCALHOST);
                FreeAddresses::new(gateway, gateway, asked)
            };
            gateway.and_then(|gateway| taken.free.entry("").or_insert_with(|| make(gateway)).take())
        };
        if let Some(gateway) = gateway {
            if !gateway.contains(&alias) {
                let kind = ProblemKind::AliasOutside { alias, range: gateway.trunc(), free: free(taken) };
                let with = At::of(&["localhost", "gateway"]);
                self.problems.push(Problem::new(at, kind).with(with));
            } else if alias == Ipv4Addr::LOCALHOST {
                self.wrong(at, ProblemKind::MacsOwn { found: alias });
            } else if alias == gateway.addr() {
                let kind = ProblemKind::AliasIsGateway { alias, free: free(taken) };
                self.problems.push(Problem::new(at, kind).with(At::of(&["localhost", "gateway"])));
            } else if let Some(kind) = edge(alias, gateway) {
                self.wrong(at, kind);
            }
        }
        if let Some(by) = taken.by.get(&alias).map(|by| (*by).to_owned()) {
            let with = At::of(&["volumes", &by, "localhost"]).path();
            let kind = ProblemKind::AliasTaken { alias, by, free: free(taken) };
            self.problems.push(Problem::new(at, kind).with(with));
        } else {
            taken.by.insert(alias, name);
        }
        Some(alias)
    }

    fn publish(&mut self, name: &str, raw: &input::RawVolume, alias: Option<Ipv4Addr>) -> BTreeSet<u16> {
        let at = At::of(&["volumes", name, "publish"]);
        let mut ports = BTreeSet::new();
        for (index, found) in raw.publish.iter().flatten().enumerate() {
            let Some(found) = *found else { continue };
            let Some(port) = u16::try_from(found).ok().filter(|port| *port > 0) else {
                self.wrong(
                    at.child(index),
                    ProblemKind::NotAPort { found: found.to_string(), ranges: false },
                );
                continue;
            };
            if !ports.insert(port)
                && let Some(alias) = alias
            {
                self.wrong(at.child(index), ProblemKind::PublishTwice { alias, port });
            }
        }
        if !ports.is_empty() && raw.localhost.is_none() {
            self.wrong(at, ProblemKind::PublishWithoutAlias { volume: name.to_owned() });
        }
        ports
    }
}
