//! Checks `mac` and `macs`: every provider on exactly one Mac, endpoints, public keys, tunnel addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::networks::RESERVED;
use super::{Check, Name};
use crate::input::{self, nearest};
use crate::model::{Mesh, MeshMac, Provider, PublicKey, TunnelEndpoint};
use crate::place::At;
use crate::problem::{Problem, ProblemKind};

/// What Macs have taken so far, each with the name of the Mac.
#[derive(Default)]
struct Taken<'a> {
    /// By provider; with the index in the list.
    providers: BTreeMap<&'a str, (&'a str, usize)>,
    endpoints: BTreeMap<TunnelEndpoint, &'a str>,
    keys: BTreeMap<PublicKey, &'a str>,
    addresses: BTreeMap<Ipv4Addr, &'a str>,
}

impl<'a> Check<'a> {
    /// The Macs; `None` if none are declared, or if a problem with them was reported.
    pub(super) fn mesh(&mut self, providers: &BTreeMap<String, Option<Provider>>) -> Option<Mesh> {
        let input = self.input;
        let Some(raw) = input.macs.as_ref().filter(|macs| !macs.is_empty()) else {
            if input.mac.is_some() {
                self.wrong(At::of(&["mac"]), ProblemKind::MacWithoutMacs);
            }
            return None;
        };
        let mut taken = Taken::default();
        let mut macs = BTreeMap::new();
        for (name, raw) in raw {
            let key = self.name(&At::of(&["macs", name]), name, Name::LONGEST);
            let mac = self.one_of_macs(name, raw, providers, &mut taken);
            macs.insert(name.clone(), key.zip(mac));
        }
        // A provider whose Mac could not be read is not missing.
        if raw.values().all(|raw| raw.providers.as_ref().is_some_and(|all| all.iter().all(Option::is_some))) {
            for provider in providers.keys().filter(|name| !taken.providers.contains_key(name.as_str())) {
                let kind = ProblemKind::ProviderOnNoMac { provider: provider.clone() };
                let at = At::of(&["providers", provider]);
                self.problems.push(Problem::new(at, kind).with(At::of(&["macs"])));
            }
        }
        let mac = self.this_mac(raw);
        let macs: BTreeMap<Name, MeshMac> = macs.into_values().collect::<Option<_>>()?;
        Some(Mesh { mac: mac?, macs })
    }

    /// The name of this Mac, if it is declared.
    fn this_mac(&mut self, macs: &BTreeMap<String, input::DeclaredMac>) -> Option<Name> {
        let Some(found) = self.input.mac.as_deref() else {
            self.wrong(At::ROOT, ProblemKind::Missing { field: "mac" });
            return None;
        };
        if !macs.contains_key(found) {
            let nearest = nearest(found, macs.keys().map(String::as_str)).map(str::to_owned);
            let kind = ProblemKind::UnknownMac { found: found.to_owned(), nearest };
            self.problems.push(Problem::new(At::of(&["mac"]), kind).with(At::of(&["macs"])));
        }
        Name::new(found, Name::LONGEST)
    }

    fn one_of_macs(
        &mut self,
        name: &'a str,
        raw: &'a input::DeclaredMac,
        providers: &BTreeMap<String, Option<Provider>>,
        taken: &mut Taken<'a>,
    ) -> Option<MeshMac> {
        let own = self.providers_of_mac(name, raw, providers, taken);
        let endpoint = self.endpoint(name, raw, providers, taken);
        let public_key = self.public_key(name, raw, taken);
        let address = self.mesh_address(name, raw, providers, taken);
        let listen_port = match raw.listen_port {
            None => endpoint.as_ref().map(|endpoint| endpoint.port),
            Some(found) => {
                let port = u16::try_from(found).ok().filter(|port| *port > 0);
                self.in_range(At::of(&["macs", name, "listenPort"]), found, port, "a port from 1 to 65535")
            }
        };
        Some(MeshMac {
            providers: own?,
            endpoint: endpoint?,
            public_key: public_key?,
            address: address?,
            listen_port: listen_port?,
        })
    }

    fn providers_of_mac(
        &mut self,
        mac: &'a str,
        raw: &'a input::DeclaredMac,
        providers: &BTreeMap<String, Option<Provider>>,
        taken: &mut Taken<'a>,
    ) -> Option<BTreeSet<Name>> {
        let list = raw.providers.as_deref()?;
        let at = At::of(&["macs", mac, "providers"]);
        if list.is_empty() {
            self.wrong(at, ProblemKind::EmptyList { what: "the list of providers", optional: false });
            return None;
        }
        let mut own = BTreeSet::new();
        for (index, found) in list.iter().enumerate() {
            let Some(found) = found else { continue };
            if !providers.contains_key(found) {
                let nearest = nearest(found, providers.keys().map(String::as_str)).map(str::to_owned);
                self.wrong(at.child(index), ProblemKind::UnknownProvider { found: found.clone(), nearest });
                continue;
            }
            if let Some((first, place)) = taken.providers.get(found.as_str()) {
                let second = mac.to_owned();
                let kind = ProblemKind::ProviderOnTwoMacs {
                    provider: found.clone(),
                    first: (*first).to_owned(),
                    second,
                };
                let other = At::of(&["macs", first, "providers"]);
                self.problems.push(Problem::new(at.child(index), kind).with(other.child(*place)));
                continue;
            }
            taken.providers.insert(found, (mac, index));
            own.extend(Name::new(found, Name::LONGEST));
        }
        Some(own)
    }

    fn endpoint(
        &mut self,
        mac: &'a str,
        raw: &input::DeclaredMac,
        providers: &BTreeMap<String, Option<Provider>>,
        taken: &mut Taken<'a>,
    ) -> Option<TunnelEndpoint> {
        let found = raw.endpoint.as_deref()?;
        let at = At::of(&["macs", mac, "endpoint"]);
        let Some(endpoint) = TunnelEndpoint::new(found) else {
            self.wrong(at, ProblemKind::Endpoint { found: found.to_owned() });
            return None;
        };
        if let Some((provider, inside)) = endpoint.ipv4().and_then(|address| holder(providers, address)) {
            let (provider, network) = (provider.to_owned(), inside.network);
            let other = At::of(&["providers", &provider, "network"]).path();
            let kind = ProblemKind::EndpointInside { found: found.to_owned(), provider, network };
            self.problems.push(Problem::new(at, kind).with(other));
        }
        if let Some(by) = taken.endpoints.get(&endpoint) {
            let kind = ProblemKind::EndpointTaken { found: found.to_owned(), by: (*by).to_owned() };
            self.problems.push(Problem::new(at, kind).with(At::of(&["macs", by, "endpoint"])));
        } else {
            taken.endpoints.insert(endpoint.clone(), mac);
        }
        Some(endpoint)
    }

    fn public_key(
        &mut self,
        mac: &'a str,
        raw: &input::DeclaredMac,
        taken: &mut Taken<'a>,
    ) -> Option<PublicKey> {
        let found = raw.public_key.as_deref()?;
        let at = At::of(&["macs", mac, "publicKey"]);
        let Some(key) = PublicKey::new(found) else {
            self.wrong(at, ProblemKind::PublicKey { found: found.to_owned() });
            return None;
        };
        if let Some(by) = taken.keys.get(&key) {
            let kind = ProblemKind::PublicKeyTaken { by: (*by).to_owned() };
            self.problems.push(Problem::new(at, kind).with(At::of(&["macs", by, "publicKey"])));
        } else {
            taken.keys.insert(key.clone(), mac);
        }
        Some(key)
    }

    fn mesh_address(
        &mut self,
        mac: &'a str,
        raw: &input::DeclaredMac,
        providers: &BTreeMap<String, Option<Provider>>,
        taken: &mut Taken<'a>,
    ) -> Option<Ipv4Addr> {
        let found = raw.address.as_deref()?;
        let at = At::of(&["macs", mac, "address"]);
        let Ok(address) = found.parse::<Ipv4Addr>() else {
            self.wrong(at, ProblemKind::NotAnAddress { found: found.to_owned() });
            return None;
        };
        if let Some((reserved, what)) = RESERVED.into_iter().find(|(reserved, _)| reserved.contains(&address))
        {
            self.wrong(at.path(), ProblemKind::MeshAddressReserved { address, reserved, what });
        }
        if let Some((provider, inside)) = holder(providers, address) {
            let (provider, network) = (provider.to_owned(), inside.network);
            let other = At::of(&["providers", &provider, "network"]).path();
            let kind = ProblemKind::MeshAddressInside { address, provider, network };
            self.problems.push(Problem::new(at.path(), kind).with(other));
        }
        if let Some(by) = taken.addresses.get(&address) {
            let kind = ProblemKind::MeshAddressTaken { address, by: (*by).to_owned() };
            self.problems.push(Problem::new(at, kind).with(At::of(&["macs", by, "address"])));
        } else {
            taken.addresses.insert(address, mac);
        }
        Some(address)
    }
}

/// The provider whose network contains an address.
fn holder(providers: &BTreeMap<String, Option<Provider>>, address: Ipv4Addr) -> Option<(&str, &Provider)> {
    let valid = providers.iter().filter_map(|(name, provider)| Some((name.as_str(), provider.as_ref()?)));
    valid.into_iter().find(|(_, provider)| provider.network.contains(&address))
}
