//! The wording of every problem: a code whose meaning never changes, a message, and a hint.

use super::{AnchorReason, Edge, MacReason, PathReason, Problem, ProblemKind};
use crate::place::{Harmless, Quoted};

impl Problem {
    /// The message, in one line.
    pub fn message(&self) -> String {
        self.kind.message()
    }
}

impl ProblemKind {
    /// The code of this kind of problem: `E001` to `E081`, or `W001` and up for warnings. Codes are never reused.
    pub fn code(&self) -> &'static str {
        match self {
            ProblemKind::NotJson { .. } => "E001",
            ProblemKind::WrongType { .. } => "E002",
            ProblemKind::Missing { .. } => "E003",
            ProblemKind::UnknownField { .. } => "E004",
            ProblemKind::Duplicate { .. } => "E005",
            ProblemKind::Version { .. } => "E006",
            ProblemKind::EmptyList { .. } => "E007",
            ProblemKind::UnknownWord { .. } => "E008",
            ProblemKind::NumberOutOfRange { .. } => "E009",
            ProblemKind::Name { .. } => "E010",
            ProblemKind::NamesCollide { .. } => "E011",
            ProblemKind::Path { .. } => "E012",
            ProblemKind::Anchor { .. } => "E013",
            ProblemKind::PathsMeet { .. } => "E014",
            ProblemKind::ReservedName { .. } => "E015",
            ProblemKind::NotANetwork { .. } => "E020",
            ProblemKind::NotAnAddress { .. } => "E021",
            ProblemKind::HostBits { .. } => "E022",
            ProblemKind::ReservedSpace { .. } => "E023",
            ProblemKind::NoRoom { .. } => "E024",
            ProblemKind::NetworksOverlap { .. } => "E025",
            ProblemKind::GatewayOutside { .. } => "E030",
            ProblemKind::GatewayWider { .. } => "E031",
            ProblemKind::EdgeAddress { .. } => "E032",
            ProblemKind::UnknownRegion { .. } => "E033",
            ProblemKind::RegionOfAnother { .. } => "E034",
            ProblemKind::UnknownProvider { .. } => "E040",
            ProblemKind::AddressOutside { .. } => "E041",
            ProblemKind::AddressIsGateway { .. } => "E042",
            ProblemKind::AddressTaken { .. } => "E043",
            ProblemKind::Mac { .. } => "E044",
            ProblemKind::MacTaken { .. } => "E045",
            ProblemKind::Interface { .. } => "E046",
            ProblemKind::NotLoopback { .. } => "E050",
            ProblemKind::MacsOwn { .. } => "E051",
            ProblemKind::AliasOutside { .. } => "E052",
            ProblemKind::AliasIsGateway { .. } => "E053",
            ProblemKind::AliasTaken { .. } => "E054",
            ProblemKind::PublishWithoutAlias { .. } => "E055",
            ProblemKind::PublishTwice { .. } => "E056",
            ProblemKind::PublishOnGuest { .. } => "E057",
            ProblemKind::UnknownEnd { .. } => "E060",
            ProblemKind::LinkToItself { .. } => "E061",
            ProblemKind::NotAPort { .. } => "E062",
            ProblemKind::PortsReversed { .. } => "E063",
            ProblemKind::PortsWithoutPorts { .. } => "E064",
            ProblemKind::WaysDiffer { .. } => "E065",
            ProblemKind::NoRegion { .. } => "E066",
            ProblemKind::LatencyTwice => "E067",
            ProblemKind::UnknownMac { .. } => "E070",
            ProblemKind::MacWithoutMacs => "E071",
            ProblemKind::ProviderOnNoMac { .. } => "E072",
            ProblemKind::ProviderOnTwoMacs { .. } => "E073",
            ProblemKind::Endpoint { .. } => "E074",
            ProblemKind::EndpointInside { .. } => "E075",
            ProblemKind::EndpointTaken { .. } => "E076",
            ProblemKind::PublicKey { .. } => "E077",
            ProblemKind::PublicKeyTaken { .. } => "E078",
            ProblemKind::MeshAddressReserved { .. } => "E079",
            ProblemKind::MeshAddressInside { .. } => "E080",
            ProblemKind::MeshAddressTaken { .. } => "E081",
            ProblemKind::PublicSpace { .. } => "W001",
            ProblemKind::MasqueradeFromGuest { .. } => "W002",
            ProblemKind::JitterOnMac => "W003",
            ProblemKind::MasqueradeFromMac { .. } => "W004",
        }
    }

    /// The message with the value at fault: lower case, no full stop.
    pub fn message(&self) -> String {
        match self {
            ProblemKind::NotJson { line, column, reason } => {
                format!("the input is not JSON: {} at line {line}, column {column}", Harmless(reason))
            }
            ProblemKind::WrongType { expected, found } => {
                format!("expected {expected}, found {}", Harmless(found))
            }
            ProblemKind::Missing { field } => format!("`{field}` is missing"),
            ProblemKind::UnknownField { field, .. } => format!("unknown field {}", Quoted(field)),
            ProblemKind::Duplicate { key } => format!("{} is given twice", Quoted(key)),
            ProblemKind::Version { found } => format!("version {found} of the input is not known"),
            ProblemKind::EmptyList { what, .. } => format!("{what} is empty"),
            ProblemKind::UnknownWord { found, .. } => format!("{} is not a known value", Quoted(found)),
            ProblemKind::NumberOutOfRange { found, range } => format!("{found} is not {range}"),
            ProblemKind::Name { found, .. } => format!("{} is not a name", Quoted(found)),
            ProblemKind::ReservedName { found } => {
                format!("{} is reserved and cannot name a provider or volume", Quoted(found))
            }
            ProblemKind::NamesCollide { name, first, second } => {
                format!("`{name}` names both {first} and {second}")
            }
            ProblemKind::Path { found, reason } => format!("the path {} {}", Quoted(found), reason.words()),
            ProblemKind::PathsMeet { path, other, with } => {
                format!("{} overlaps `{other}`, which uses {}", Quoted(path), Quoted(with))
            }
            ProblemKind::Anchor { found, reason } => {
                format!("the anchor {} {}", Quoted(found), reason.words())
            }
            ProblemKind::NotANetwork { found } => {
                format!("{} is not an IPv4 address with a prefix length", Quoted(found))
            }
            ProblemKind::NotAnAddress { found } => format!("{} is not an IPv4 address", Quoted(found)),
            ProblemKind::HostBits { found } => {
                format!("`{found}` is not a network address: it has host bits set")
            }
            ProblemKind::ReservedSpace { found, reserved, what } => {
                format!("the network `{found}` touches `{reserved}`, which is {what}")
            }
            ProblemKind::NoRoom { found } => {
                format!("the network `{found}` is too small for a gateway and a volume")
            }
            ProblemKind::NetworksOverlap { first, second, .. } => format!(
                "the network `{}` of provider `{}` overlaps `{}` of provider `{}`",
                first.1, first.0, second.1, second.0
            ),
            ProblemKind::GatewayOutside { provider, gateway, network } => format!(
                "the gateway `{}` lies outside the network `{network}` of provider `{provider}`",
                gateway.addr()
            ),
            ProblemKind::GatewayWider { provider, gateway, network } => {
                format!(
                    "the gateway's prefix `{gateway}` is wider than the network `{network}` of provider `{provider}`"
                )
            }
            ProblemKind::EdgeAddress { address, network, edge } => {
                format!("`{address}` is the {} address of `{network}`", edge.words())
            }
            ProblemKind::UnknownRegion { found, cloud: Some(cloud), .. } => {
                format!("{cloud} has no region {}", Quoted(found))
            }
            ProblemKind::UnknownRegion { found, cloud: None, .. } => {
                format!("no cloud has a region {}", Quoted(found))
            }
            ProblemKind::RegionOfAnother { found, cloud, of, .. } => {
                format!("`{found}` is a region of {of}, and the provider is called `{cloud}`")
            }
            ProblemKind::UnknownProvider { found, .. } => format!("there is no provider {}", Quoted(found)),
            ProblemKind::AddressOutside { address, provider, network, .. } => {
                format!(
                    "the address `{address}` lies outside the network `{network}` of its provider `{provider}`"
                )
            }
            ProblemKind::AddressIsGateway { address, of, .. } => {
                format!("the address `{address}` is the gateway of provider `{of}`")
            }
            ProblemKind::AddressTaken { address, by, .. } => {
                format!("the address `{address}` is taken by volume `{by}`")
            }
            ProblemKind::Mac { found, reason } => format!("{} {}", Quoted(found), reason.words()),
            ProblemKind::MacTaken { mac, by } => {
                format!("the MAC address `{mac}` is that of volume `{by}` already")
            }
            ProblemKind::Interface { found } => format!("{} is not the name of an interface", Quoted(found)),
            ProblemKind::NotLoopback { found } => {
                format!("the localhost range `{}` lies outside `127.0.0.0/8`", found.trunc())
            }
            ProblemKind::MacsOwn { found } => format!("`{found}` belongs to the Mac itself"),
            ProblemKind::AliasOutside { alias, range, .. } => {
                format!("the localhost alias `{alias}` lies outside the range `{range}`")
            }
            ProblemKind::AliasIsGateway { alias, .. } => {
                format!("the localhost alias `{alias}` is the gateway of the localhost group")
            }
            ProblemKind::AliasTaken { alias, by, .. } => {
                format!("the localhost alias `{alias}` is taken by volume `{by}`")
            }
            ProblemKind::PublishWithoutAlias { volume } => {
                format!("volume `{volume}` publishes a port but has no localhost alias to publish it on")
            }
            ProblemKind::PublishTwice { alias, port } => {
                format!("port {port} is published twice on `{alias}`")
            }
            ProblemKind::PublishOnGuest { volume, .. } => {
                format!(
                    "volume `{volume}` is a guest: macOS cannot publish a port of a VM on a localhost alias"
                )
            }
            ProblemKind::UnknownEnd { found, .. } => {
                format!("there is no provider or volume {}", Quoted(found))
            }
            ProblemKind::LinkToItself { end } => format!("the link joins `{end}` only with itself"),
            ProblemKind::NotAPort { found, .. } => {
                format!("{} is not a port or a range of ports", Harmless(found))
            }
            ProblemKind::PortsReversed { found, .. } => {
                format!("the port range {} is reversed", Quoted(found))
            }
            ProblemKind::PortsWithoutPorts { protocol } => format!("the protocol `{protocol}` has no ports"),
            ProblemKind::WaysDiffer { from, to, other } => {
                format!("the path from `{from}` to `{to}` has other conditions in `links.{other}`")
            }
            ProblemKind::NoRegion { provider } => {
                format!("provider `{provider}` has no region to take the latency from")
            }
            ProblemKind::LatencyTwice => {
                "the latency is given twice, as `latency` and as `latencyMs`".to_owned()
            }
            ProblemKind::UnknownMac { found, .. } => format!("there is no Mac {}", Quoted(found)),
            ProblemKind::MacWithoutMacs => {
                "`mac` says which of several Macs this is, but there is no `macs`".to_owned()
            }
            ProblemKind::ProviderOnNoMac { provider } => {
                format!("provider `{}` is on none of the Macs", Harmless(provider))
            }
            ProblemKind::ProviderOnTwoMacs { provider, first, second } if first == second => {
                format!("provider `{}` is listed twice for Mac `{}`", Harmless(provider), Harmless(first))
            }
            ProblemKind::ProviderOnTwoMacs { provider, first, second } => {
                format!(
                    "provider `{}` is on two Macs, `{}` and `{}`",
                    Harmless(provider),
                    Harmless(first),
                    Harmless(second)
                )
            }
            ProblemKind::Endpoint { found } => format!("{} is not a host and a port", Quoted(found)),
            ProblemKind::EndpointInside { found, provider, network } => format!(
                "the endpoint {} lies in the network `{network}` of provider `{}`, which is reached through tunnels",
                Quoted(found),
                Harmless(provider)
            ),
            ProblemKind::EndpointTaken { found, by } => {
                format!("the endpoint {} is that of Mac `{}` already", Quoted(found), Harmless(by))
            }
            ProblemKind::PublicKey { found } => format!("{} is not a WireGuard public key", Quoted(found)),
            ProblemKind::PublicKeyTaken { by } => {
                format!("the public key is that of Mac `{}` already", Harmless(by))
            }
            ProblemKind::MeshAddressReserved { address, reserved, what } => {
                format!("the tunnel address `{address}` lies in `{reserved}`, which is {what}")
            }
            ProblemKind::MeshAddressInside { address, provider, network } => {
                format!(
                    "the tunnel address `{address}` lies in the network `{network}` of provider `{}`",
                    Harmless(provider)
                )
            }
            ProblemKind::MeshAddressTaken { address, by } => {
                format!("the tunnel address `{address}` is that of Mac `{}` already", Harmless(by))
            }
            ProblemKind::PublicSpace { found } => {
                format!(
                    "the network `{found}` is public: whoever has it on the internet is out of this Mac's reach"
                )
            }
            ProblemKind::MasqueradeFromGuest { guest, address, volume } => format!(
                "what the guest `{guest}` sends to `{volume}`, which this Mac serves, is not masqueraded: `{volume}` sees `{address}`"
            ),
            ProblemKind::MasqueradeFromMac { sender, address, volume } => format!(
                "what `{sender}` sends to `{volume}`, which another Mac serves, is not masqueraded: `{volume}` sees `{address}`"
            ),
            ProblemKind::JitterOnMac => "jitter is only in the lab: dummynet on a Mac has none".to_owned(),
        }
    }

    /// What to do about it, if there is any advice.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            ProblemKind::NotJson { .. } => {
                "the input is what Nix evaluates `services.nixvol-net.input` to".to_owned()
            }
            ProblemKind::Missing { field } => format!("add `{field}`"),
            ProblemKind::UnknownField { nearest, .. } => match nearest {
                Some(known) => format!("did you mean `{known}`?"),
                None => "`nixvol-net schema` lists the fields".to_owned(),
            },
            ProblemKind::Duplicate { .. } | ProblemKind::LatencyTwice => "keep one of the two".to_owned(),
            ProblemKind::Version { .. } => "this nixvol-net reads version 1".to_owned(),
            ProblemKind::EmptyList { optional: true, .. } => "name at least one, or leave the field out".to_owned(),
            ProblemKind::EmptyList { optional: false, .. } => "name at least one".to_owned(),
            ProblemKind::UnknownWord { known, .. } => format!("write one of {}", list(known)),
            ProblemKind::WrongType { .. } | ProblemKind::NumberOutOfRange { .. } => return None,
            ProblemKind::Name { longest, .. } => {
                format!("use lower-case letters, digits and `-`, not starting with `-`, {longest} characters at most")
            }
            ProblemKind::ReservedName { .. } => {
                "`internet`, `lan`, `mac`, `localhost` and `any` have a meaning of their own in `explain` and \
                 expectations: use another name"
                    .to_owned()
            }
            ProblemKind::NamesCollide { .. } => "give one of them another name".to_owned(),
            ProblemKind::Path { reason, .. } => reason.hint().to_owned(),
            ProblemKind::PathsMeet { .. } => "use separate paths, none inside another".to_owned(),
            ProblemKind::Anchor { .. } => {
                "write `com.apple/` and a name of your own, such as `com.apple/250.nixvol`".to_owned()
            }
            ProblemKind::NotANetwork { .. } => {
                "write an address, `/` and a prefix length, such as `10.0.0.0/16`".to_owned()
            }
            ProblemKind::NotAnAddress { .. } => "write it like `10.0.1.2`".to_owned(),
            ProblemKind::HostBits { found } => format!("write `{}`", found.trunc()),
            ProblemKind::ReservedSpace { .. } => {
                "use private space: a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16".to_owned()
            }
            ProblemKind::NoRoom { .. } => "use a prefix of 30 or less".to_owned(),
            ProblemKind::NetworksOverlap { free, second, .. } => match free {
                Some(network) => format!("`{network}` is free for `{}`", second.0),
                None => "no network of that size is free in private space: use smaller ones".to_owned(),
            },
            ProblemKind::GatewayOutside { network, .. } => format!("use an address inside `{network}`"),
            ProblemKind::GatewayWider { network, gateway, .. } => {
                format!("write `{}/{}`", gateway.addr(), network.prefix_len().max(24))
            }
            ProblemKind::EdgeAddress { .. } => {
                "use an address between the network and the broadcast address".to_owned()
            }
            ProblemKind::UnknownRegion { nearest: Some(near), .. } => format!("did you mean `{near}`?"),
            ProblemKind::UnknownRegion { nearest: None, .. } => {
                "`nixvol-net help conditions` lists the regions; of another place, give the links `latencyMs`".to_owned()
            }
            ProblemKind::RegionOfAnother { cloud, near: Some(near), .. } => {
                format!("did you mean `{near}` of {cloud}? Otherwise give the provider another name")
            }
            ProblemKind::RegionOfAnother { cloud, near: None, .. } => {
                format!("name a region of {cloud}, or give the provider another name")
            }
            ProblemKind::UnknownProvider { nearest: Some(known), .. }
            | ProblemKind::UnknownMac { nearest: Some(known), .. }
            | ProblemKind::UnknownEnd { nearest: Some(known), .. } => {
                format!("did you mean `{known}`?")
            }
            ProblemKind::UnknownProvider { .. } => "declare it under `providers`".to_owned(),
            ProblemKind::UnknownEnd { .. } => "declare it under `providers` or `volumes`".to_owned(),
            ProblemKind::UnknownMac { nearest: None, .. } => "declare it under `macs`".to_owned(),
            ProblemKind::MacWithoutMacs => "declare `macs`, or remove `mac`".to_owned(),
            ProblemKind::ProviderOnNoMac { .. } => "add it to the `providers` of one of `macs`".to_owned(),
            ProblemKind::Endpoint { .. } => {
                "write it like `studio.local:51820`, `192.168.1.20:51820` or `[fd00::20]:51820`".to_owned()
            }
            ProblemKind::EndpointInside { .. } => {
                "use an address of this Mac's LAN, or a name that resolves to one".to_owned()
            }
            ProblemKind::EndpointTaken { .. } => "give each Mac an endpoint of its own".to_owned(),
            ProblemKind::PublicKey { .. } => {
                "write what `wg pubkey < FILE` prints for the private key of that Mac: 32 bytes in base64".to_owned()
            }
            ProblemKind::PublicKeyTaken { .. } => "make a key for each Mac with `wg genkey`".to_owned(),
            ProblemKind::MeshAddressReserved { .. }
            | ProblemKind::MeshAddressInside { .. }
            | ProblemKind::MeshAddressTaken { .. } => {
                "give each Mac an address that nothing else has, such as one of 100.127.0.0/16".to_owned()
            }
            ProblemKind::AddressOutside { free, .. }
            | ProblemKind::AddressIsGateway { free, .. }
            | ProblemKind::AddressTaken { free, .. }
            | ProblemKind::AliasOutside { free, .. }
            | ProblemKind::AliasIsGateway { free, .. }
            | ProblemKind::AliasTaken { free, .. } => match free {
                Some(address) => format!("`{address}` is free"),
                None => "use another address, or widen the network".to_owned(),
            },
            ProblemKind::Mac { .. } => {
                "write the address that the VM's configuration gives its interface, as `52:54:00:12:34:56`".to_owned()
            }
            ProblemKind::MacTaken { .. } => "give each VM's interface a MAC address of its own".to_owned(),
            ProblemKind::Interface { .. } => {
                "write what `ip link` shows in the VM, as `enp0s1`: letters, digits, `.`, `-` and `_`, 15 at most, a letter \
                 first"
                    .to_owned()
            }
            ProblemKind::NotLoopback { .. } => "write it like `127.0.1.1/24`".to_owned(),
            ProblemKind::MacsOwn { .. } => "use another address of 127.0.0.0/8".to_owned(),
            ProblemKind::PublishWithoutAlias { .. } => {
                "give it `localhost`, an address of the localhost range".to_owned()
            }
            ProblemKind::PublishTwice { .. } | ProblemKind::ProviderOnTwoMacs { .. } => "remove one of the two".to_owned(),
            ProblemKind::PublishOnGuest { address: Some(address), ports, .. } => {
                let ports = ports.split(", ").map(|port| format!("`{address}:{port}`")).collect::<Vec<_>>();
                format!("use {}, which this Mac reaches as it is, and remove `publish`", ports.join(" and "))
            }
            ProblemKind::PublishOnGuest { address: None, .. } => {
                "use the volume's own address, which this Mac reaches as it is, and remove `publish`"
                    .to_owned()
            }
            ProblemKind::LinkToItself { .. } => {
                "traffic inside a provider always passes: remove the link, or name the other end".to_owned()
            }
            ProblemKind::NotAPort { ranges: true, .. } => {
                "write a number from 1 to 65535, or a range such as \"2379-2380\"".to_owned()
            }
            ProblemKind::NotAPort { ranges: false, .. } => "write a number from 1 to 65535".to_owned(),
            ProblemKind::PortsReversed { first, last, .. } => format!("write \"{last}-{first}\""),
            ProblemKind::PortsWithoutPorts { .. } => "remove `ports`, or use the protocol `tcp` or `udp`".to_owned(),
            ProblemKind::NoRegion { provider } => {
                format!("give `{provider}` a `region`, as \"us-east-1\", or the link `latencyMs`")
            }
            ProblemKind::WaysDiffer { .. } => {
                "conditions apply to the whole path, whatever the protocol and port: declare them once".to_owned()
            }
            ProblemKind::PublicSpace { .. } => {
                "use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, unless that is what you want"
                    .to_owned()
            }
            ProblemKind::MasqueradeFromGuest { volume, .. } => format!(
                "macOS translates only what leaves by an interface: expect the guest's own address, or let `{volume}` be a guest"
            ),
            ProblemKind::MasqueradeFromMac { volume, .. } => format!(
                "macOS translates only what leaves by an interface: expect the sender's own address, or let `{volume}` be a guest"
            ),
            ProblemKind::JitterOnMac => {
                "nothing to do where the lab is meant; on the Mac every packet is as late as another".to_owned()
            }
        };
        Some(text)
    }
}

impl PathReason {
    fn words(self) -> String {
        match self {
            Self::Relative => "does not start at `/`".to_owned(),
            Self::Root => "is the root itself".to_owned(),
            Self::NotNormal => "has an empty part, `.`, `..`, or a `/` at its end".to_owned(),
            Self::HostileCharacter(found) => {
                format!("contains a character that is not allowed ({})", found.escape_unicode())
            }
            Self::Shared => "is a directory that other programs use too".to_owned(),
            Self::TooLong => "is longer than macOS allows (1023 bytes)".to_owned(),
            Self::LogLine(found) => format!("has `{found}`, which a line of newsyslog.conf cannot hold"),
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Relative => "write it from the root, such as `/opt/nix-volumes`",
            Self::Root => "use a separate directory, such as `/opt/nix-volumes`",
            Self::NotNormal => "write it in its shortest form",
            Self::HostileCharacter(_) => "remove that character",
            Self::Shared => "use a separate directory inside it",
            Self::TooLong => "use a shorter path",
            Self::LogLine(_) => "use letters, digits and `._/@%+,:=~-`",
        }
    }
}

impl MacReason {
    fn words(self) -> &'static str {
        match self {
            Self::Form => "is not a MAC address",
            Self::Group => "is the MAC address of a group, which no interface has",
            Self::Nobody => "is the MAC address of nobody",
        }
    }
}

impl AnchorReason {
    fn words(self) -> &'static str {
        match self {
            Self::NotAChild => "is not a child of `com.apple`, so macOS's main ruleset never calls it",
            Self::Word => "has a character outside letters, digits, `.`, `-` and `_`, or starts with `_`",
            Self::Apples => "starts like one of Apple's own",
            Self::TooLong => "is longer than pf allows (63 characters per part)",
        }
    }
}

impl Edge {
    fn words(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Broadcast => "broadcast",
        }
    }
}

fn list(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
