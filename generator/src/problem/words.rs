//! The wording of every problem: a code whose meaning never changes, a message, and a hint.

use super::{AnchorReason, Edge, Kind, MacReason, PathReason, Problem};
use crate::place::{Harmless, Quoted};

impl Problem {
    /// The message, in one line.
    pub fn message(&self) -> String {
        self.kind.message()
    }
}

impl Kind {
    /// The code of this kind of problem: `E001` to `E081`, or `W001` and up for warnings. Codes are never reused.
    pub fn code(&self) -> &'static str {
        match self {
            Kind::NotJson { .. } => "E001",
            Kind::WrongType { .. } => "E002",
            Kind::Missing { .. } => "E003",
            Kind::UnknownField { .. } => "E004",
            Kind::Duplicate { .. } => "E005",
            Kind::Version { .. } => "E006",
            Kind::EmptyList { .. } => "E007",
            Kind::UnknownWord { .. } => "E008",
            Kind::NumberOutOfRange { .. } => "E009",
            Kind::Name { .. } => "E010",
            Kind::NamesCollide { .. } => "E011",
            Kind::Path { .. } => "E012",
            Kind::Anchor { .. } => "E013",
            Kind::PathsMeet { .. } => "E014",
            Kind::ReservedName { .. } => "E015",
            Kind::NotANetwork { .. } => "E020",
            Kind::NotAnAddress { .. } => "E021",
            Kind::HostBits { .. } => "E022",
            Kind::ReservedSpace { .. } => "E023",
            Kind::NoRoom { .. } => "E024",
            Kind::NetworksOverlap { .. } => "E025",
            Kind::GatewayOutside { .. } => "E030",
            Kind::GatewayWider { .. } => "E031",
            Kind::EdgeAddress { .. } => "E032",
            Kind::UnknownRegion { .. } => "E033",
            Kind::RegionOfAnother { .. } => "E034",
            Kind::UnknownProvider { .. } => "E040",
            Kind::AddressOutside { .. } => "E041",
            Kind::AddressIsGateway { .. } => "E042",
            Kind::AddressTaken { .. } => "E043",
            Kind::Mac { .. } => "E044",
            Kind::MacTaken { .. } => "E045",
            Kind::Interface { .. } => "E046",
            Kind::NotLoopback { .. } => "E050",
            Kind::MacsOwn { .. } => "E051",
            Kind::AliasOutside { .. } => "E052",
            Kind::AliasIsGateway { .. } => "E053",
            Kind::AliasTaken { .. } => "E054",
            Kind::PublishWithoutAlias { .. } => "E055",
            Kind::PublishTwice { .. } => "E056",
            Kind::PublishOnGuest { .. } => "E057",
            Kind::UnknownEnd { .. } => "E060",
            Kind::LinkToItself { .. } => "E061",
            Kind::NotAPort { .. } => "E062",
            Kind::PortsReversed { .. } => "E063",
            Kind::PortsWithoutPorts { .. } => "E064",
            Kind::WaysDiffer { .. } => "E065",
            Kind::NoRegion { .. } => "E066",
            Kind::LatencyTwice => "E067",
            Kind::UnknownMac { .. } => "E070",
            Kind::MacWithoutMacs => "E071",
            Kind::ProviderOnNoMac { .. } => "E072",
            Kind::ProviderOnTwoMacs { .. } => "E073",
            Kind::Endpoint { .. } => "E074",
            Kind::EndpointInside { .. } => "E075",
            Kind::EndpointTaken { .. } => "E076",
            Kind::PublicKey { .. } => "E077",
            Kind::PublicKeyTaken { .. } => "E078",
            Kind::MeshAddressReserved { .. } => "E079",
            Kind::MeshAddressInside { .. } => "E080",
            Kind::MeshAddressTaken { .. } => "E081",
            Kind::PublicSpace { .. } => "W001",
            Kind::MasqueradeFromGuest { .. } => "W002",
            Kind::JitterOnMac => "W003",
            Kind::MasqueradeFromMac { .. } => "W004",
        }
    }

    /// The message with the value at fault: lower case, no full stop.
    pub fn message(&self) -> String {
        match self {
            Kind::NotJson { line, column, reason } => {
                format!("the input is not JSON: {} at line {line}, column {column}", Harmless(reason))
            }
            Kind::WrongType { expected, found } => format!("expected {expected}, found {}", Harmless(found)),
            Kind::Missing { field } => format!("`{field}` is missing"),
            Kind::UnknownField { field, .. } => format!("unknown field {}", Quoted(field)),
            Kind::Duplicate { key } => format!("{} is given twice", Quoted(key)),
            Kind::Version { found } => format!("version {found} of the input is not known"),
            Kind::EmptyList { what, .. } => format!("{what} is empty"),
            Kind::UnknownWord { found, .. } => format!("{} is not a known value", Quoted(found)),
            Kind::NumberOutOfRange { found, range } => format!("{found} is not {range}"),
            Kind::Name { found, .. } => format!("{} is not a name", Quoted(found)),
            Kind::ReservedName { found } => {
                format!("{} is reserved and cannot name a provider or volume", Quoted(found))
            }
            Kind::NamesCollide { name, first, second } => {
                format!("`{name}` names both {first} and {second}")
            }
            Kind::Path { found, reason } => format!("the path {} {}", Quoted(found), reason.words()),
            Kind::PathsMeet { path, other, with } => {
                format!("{} overlaps `{other}`, which uses {}", Quoted(path), Quoted(with))
            }
            Kind::Anchor { found, reason } => format!("the anchor {} {}", Quoted(found), reason.words()),
            Kind::NotANetwork { found } => {
                format!("{} is not an IPv4 address with a prefix length", Quoted(found))
            }
            Kind::NotAnAddress { found } => format!("{} is not an IPv4 address", Quoted(found)),
            Kind::HostBits { found } => {
                format!("`{found}` is not a network address: it has host bits set")
            }
            Kind::ReservedSpace { found, reserved, what } => {
                format!("the network `{found}` touches `{reserved}`, which is {what}")
            }
            Kind::NoRoom { found } => {
                format!("the network `{found}` is too small for a gateway and a volume")
            }
            Kind::NetworksOverlap { first, second, .. } => format!(
                "the network `{}` of provider `{}` overlaps `{}` of provider `{}`",
                first.1, first.0, second.1, second.0
            ),
            Kind::GatewayOutside { provider, gateway, network } => format!(
                "the gateway `{}` lies outside the network `{network}` of provider `{provider}`",
                gateway.addr()
            ),
            Kind::GatewayWider { provider, gateway, network } => {
                format!(
                    "the gateway's prefix `{gateway}` is wider than the network `{network}` of provider `{provider}`"
                )
            }
            Kind::EdgeAddress { address, network, edge } => {
                format!("`{address}` is the {} address of `{network}`", edge.words())
            }
            Kind::UnknownRegion { found, cloud: Some(cloud), .. } => {
                format!("{cloud} has no region {}", Quoted(found))
            }
            Kind::UnknownRegion { found, cloud: None, .. } => {
                format!("no cloud has a region {}", Quoted(found))
            }
            Kind::RegionOfAnother { found, cloud, of, .. } => {
                format!("`{found}` is a region of {of}, and the provider is called `{cloud}`")
            }
            Kind::UnknownProvider { found, .. } => format!("there is no provider {}", Quoted(found)),
            Kind::AddressOutside { address, provider, network, .. } => {
                format!(
                    "the address `{address}` lies outside the network `{network}` of its provider `{provider}`"
                )
            }
            Kind::AddressIsGateway { address, of, .. } => {
                format!("the address `{address}` is the gateway of provider `{of}`")
            }
            Kind::AddressTaken { address, by, .. } => {
                format!("the address `{address}` is taken by volume `{by}`")
            }
            Kind::Mac { found, reason } => format!("{} {}", Quoted(found), reason.words()),
            Kind::MacTaken { mac, by } => format!("the MAC address `{mac}` is that of volume `{by}` already"),
            Kind::Interface { found } => format!("{} is not the name of an interface", Quoted(found)),
            Kind::NotLoopback { found } => {
                format!("the localhost range `{}` lies outside `127.0.0.0/8`", found.trunc())
            }
            Kind::MacsOwn { found } => format!("`{found}` belongs to the Mac itself"),
            Kind::AliasOutside { alias, range, .. } => {
                format!("the localhost alias `{alias}` lies outside the range `{range}`")
            }
            Kind::AliasIsGateway { alias, .. } => {
                format!("the localhost alias `{alias}` is the gateway of the localhost group")
            }
            Kind::AliasTaken { alias, by, .. } => {
                format!("the localhost alias `{alias}` is taken by volume `{by}`")
            }
            Kind::PublishWithoutAlias { volume } => {
                format!("volume `{volume}` publishes a port but has no localhost alias to publish it on")
            }
            Kind::PublishTwice { alias, port } => format!("port {port} is published twice on `{alias}`"),
            Kind::PublishOnGuest { volume, .. } => {
                format!(
                    "volume `{volume}` is a guest: macOS cannot publish a port of a VM on a localhost alias"
                )
            }
            Kind::UnknownEnd { found, .. } => format!("there is no provider or volume {}", Quoted(found)),
            Kind::LinkToItself { end } => format!("the link joins `{end}` only with itself"),
            Kind::NotAPort { found, .. } => format!("{} is not a port or a range of ports", Harmless(found)),
            Kind::PortsReversed { found, .. } => {
                format!("the port range {} is reversed", Quoted(found))
            }
            Kind::PortsWithoutPorts { protocol } => format!("the protocol `{protocol}` has no ports"),
            Kind::WaysDiffer { from, to, other } => {
                format!("the path from `{from}` to `{to}` has other conditions in `links.{other}`")
            }
            Kind::NoRegion { provider } => {
                format!("provider `{provider}` has no region to take the latency from")
            }
            Kind::LatencyTwice => "the latency is given twice, as `latency` and as `latencyMs`".to_owned(),
            Kind::UnknownMac { found, .. } => format!("there is no Mac {}", Quoted(found)),
            Kind::MacWithoutMacs => {
                "`mac` says which of several Macs this is, but there is no `macs`".to_owned()
            }
            Kind::ProviderOnNoMac { provider } => format!("provider `{provider}` is on none of the Macs"),
            Kind::ProviderOnTwoMacs { provider, first, second } if first == second => {
                format!("provider `{provider}` is listed twice for Mac `{first}`")
            }
            Kind::ProviderOnTwoMacs { provider, first, second } => {
                format!("provider `{provider}` is on two Macs, `{first}` and `{second}`")
            }
            Kind::Endpoint { found } => format!("{} is not a host and a port", Quoted(found)),
            Kind::EndpointInside { found, provider, network } => format!(
                "the endpoint {} lies in the network `{network}` of provider `{provider}`, which is reached through tunnels",
                Quoted(found)
            ),
            Kind::EndpointTaken { found, by } => {
                format!("the endpoint {} is that of Mac `{by}` already", Quoted(found))
            }
            Kind::PublicKey { found } => format!("{} is not a WireGuard public key", Quoted(found)),
            Kind::PublicKeyTaken { by } => format!("the public key is that of Mac `{by}` already"),
            Kind::MeshAddressReserved { address, reserved, what } => {
                format!("the tunnel address `{address}` lies in `{reserved}`, which is {what}")
            }
            Kind::MeshAddressInside { address, provider, network } => {
                format!(
                    "the tunnel address `{address}` lies in the network `{network}` of provider `{provider}`"
                )
            }
            Kind::MeshAddressTaken { address, by } => {
                format!("the tunnel address `{address}` is that of Mac `{by}` already")
            }
            Kind::PublicSpace { found } => {
                format!(
                    "the network `{found}` is public: whoever has it on the internet is out of this Mac's reach"
                )
            }
            Kind::MasqueradeFromGuest { guest, address, volume } => format!(
                "what the guest `{guest}` sends to `{volume}`, which this Mac serves, is not masqueraded: `{volume}` sees `{address}`"
            ),
            Kind::MasqueradeFromMac { sender, address, volume } => format!(
                "what `{sender}` sends to `{volume}`, which another Mac serves, is not masqueraded: `{volume}` sees `{address}`"
            ),
            Kind::JitterOnMac => "jitter is only in the lab: dummynet on a Mac has none".to_owned(),
        }
    }

    /// What to do about it, if there is any advice.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Kind::NotJson { .. } => {
                "the input is what Nix evaluates `services.nixvol-net.input` to".to_owned()
            }
            Kind::Missing { field } => format!("add `{field}`"),
            Kind::UnknownField { nearest, .. } => match nearest {
                Some(known) => format!("did you mean `{known}`?"),
                None => "`nixvol-net schema` lists the fields".to_owned(),
            },
            Kind::Duplicate { .. } | Kind::LatencyTwice => "keep one of the two".to_owned(),
            Kind::Version { .. } => "this nixvol-net reads version 1".to_owned(),
            Kind::EmptyList { optional: true, .. } => "name at least one, or leave the field out".to_owned(),
            Kind::EmptyList { optional: false, .. } => "name at least one".to_owned(),
            Kind::UnknownWord { known, .. } => format!("write one of {}", list(known)),
            Kind::WrongType { .. } | Kind::NumberOutOfRange { .. } => return None,
            Kind::Name { longest, .. } => {
                format!("use lower-case letters, digits and `-`, not starting with `-`, {longest} characters at most")
            }
            Kind::ReservedName { .. } => {
                "`internet`, `lan`, `mac`, `localhost` and `any` have a meaning of their own in `explain` and \
                 expectations: use another name"
                    .to_owned()
            }
            Kind::NamesCollide { .. } => "give one of them another name".to_owned(),
            Kind::Path { reason, .. } => reason.hint().to_owned(),
            Kind::PathsMeet { .. } => "use separate paths, none inside another".to_owned(),
            Kind::Anchor { .. } => {
                "write `com.apple/` and a name of your own, such as `com.apple/250.nixvol`".to_owned()
            }
            Kind::NotANetwork { .. } => {
                "write an address, `/` and a prefix length, such as `10.0.0.0/16`".to_owned()
            }
            Kind::NotAnAddress { .. } => "write it like `10.0.1.2`".to_owned(),
            Kind::HostBits { found } => format!("write `{}`", found.trunc()),
            Kind::ReservedSpace { .. } => {
                "use private space: a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16".to_owned()
            }
            Kind::NoRoom { .. } => "use a prefix of 30 or less".to_owned(),
            Kind::NetworksOverlap { free, second, .. } => match free {
                Some(network) => format!("`{network}` is free for `{}`", second.0),
                None => "no network of that size is free in private space: use smaller ones".to_owned(),
            },
            Kind::GatewayOutside { network, .. } => format!("use an address inside `{network}`"),
            Kind::GatewayWider { network, gateway, .. } => {
                format!("write `{}/{}`", gateway.addr(), network.prefix_len().max(24))
            }
            Kind::EdgeAddress { .. } => {
                "use an address between the network and the broadcast address".to_owned()
            }
            Kind::UnknownRegion { nearest: Some(near), .. } => format!("did you mean `{near}`?"),
            Kind::UnknownRegion { nearest: None, .. } => {
                "`nixvol-net help conditions` lists the regions; of another place, give the links `latencyMs`".to_owned()
            }
            Kind::RegionOfAnother { cloud, near: Some(near), .. } => {
                format!("did you mean `{near}` of {cloud}? Otherwise give the provider another name")
            }
            Kind::RegionOfAnother { cloud, near: None, .. } => {
                format!("name a region of {cloud}, or give the provider another name")
            }
            Kind::UnknownProvider { nearest: Some(known), .. }
            | Kind::UnknownMac { nearest: Some(known), .. }
            | Kind::UnknownEnd { nearest: Some(known), .. } => {
                format!("did you mean `{known}`?")
            }
            Kind::UnknownProvider { .. } => "declare it under `providers`".to_owned(),
            Kind::UnknownEnd { .. } => "declare it under `providers` or `volumes`".to_owned(),
            Kind::UnknownMac { nearest: None, .. } => "declare it under `macs`".to_owned(),
            Kind::MacWithoutMacs => "declare `macs`, or remove `mac`".to_owned(),
            Kind::ProviderOnNoMac { .. } => "add it to the `providers` of one of `macs`".to_owned(),
            Kind::Endpoint { .. } => {
                "write it like `studio.local:51820`, `192.168.1.20:51820` or `[fd00::20]:51820`".to_owned()
            }
            Kind::EndpointInside { .. } => {
                "use an address of this Mac's LAN, or a name that resolves to one".to_owned()
            }
            Kind::EndpointTaken { .. } => "give each Mac an endpoint of its own".to_owned(),
            Kind::PublicKey { .. } => {
                "write what `wg pubkey < FILE` prints for the private key of that Mac: 32 bytes in base64".to_owned()
            }
            Kind::PublicKeyTaken { .. } => "make a key for each Mac with `wg genkey`".to_owned(),
            Kind::MeshAddressReserved { .. }
            | Kind::MeshAddressInside { .. }
            | Kind::MeshAddressTaken { .. } => {
                "give each Mac an address that nothing else has, such as one of 100.127.0.0/16".to_owned()
            }
            Kind::AddressOutside { free, .. }
            | Kind::AddressIsGateway { free, .. }
            | Kind::AddressTaken { free, .. }
            | Kind::AliasOutside { free, .. }
            | Kind::AliasIsGateway { free, .. }
            | Kind::AliasTaken { free, .. } => match free {
                Some(address) => format!("`{address}` is free"),
                None => "use another address, or widen the network".to_owned(),
            },
            Kind::Mac { .. } => {
                "write the address that the VM's configuration gives its interface, as `52:54:00:12:34:56`".to_owned()
            }
            Kind::MacTaken { .. } => "give each VM's interface a MAC address of its own".to_owned(),
            Kind::Interface { .. } => {
                "write what `ip link` shows in the VM, as `enp0s1`: letters, digits, `.`, `-` and `_`, 15 at most, a letter \
                 first"
                    .to_owned()
            }
            Kind::NotLoopback { .. } => "write it like `127.0.1.1/24`".to_owned(),
            Kind::MacsOwn { .. } => "use another address of 127.0.0.0/8".to_owned(),
            Kind::PublishWithoutAlias { .. } => {
                "give it `localhost`, an address of the localhost range".to_owned()
            }
            Kind::PublishTwice { .. } | Kind::ProviderOnTwoMacs { .. } => "remove one of the two".to_owned(),
            Kind::PublishOnGuest { address: Some(address), ports, .. } => {
                let ports = ports.split(", ").map(|port| format!("`{address}:{port}`")).collect::<Vec<_>>();
                format!("use {}, which this Mac reaches as it is, and remove `publish`", ports.join(" and "))
            }
            Kind::PublishOnGuest { address: None, .. } => {
                "use the volume's own address, which this Mac reaches as it is, and remove `publish`"
                    .to_owned()
            }
            Kind::LinkToItself { .. } => {
                "traffic inside a provider always passes: remove the link, or name the other end".to_owned()
            }
            Kind::NotAPort { ranges: true, .. } => {
                "write a number from 1 to 65535, or a range such as \"2379-2380\"".to_owned()
            }
            Kind::NotAPort { ranges: false, .. } => "write a number from 1 to 65535".to_owned(),
            Kind::PortsReversed { first, last, .. } => format!("write \"{last}-{first}\""),
            Kind::PortsWithoutPorts { .. } => "remove `ports`, or use the protocol `tcp` or `udp`".to_owned(),
            Kind::NoRegion { provider } => {
                format!("give `{provider}` a `region`, as \"us-east-1\", or the link `latencyMs`")
            }
            Kind::WaysDiffer { .. } => {
                "conditions apply to the whole path, whatever the protocol and port: declare them once".to_owned()
            }
            Kind::PublicSpace { .. } => {
                "use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, unless that is what you want"
                    .to_owned()
            }
            Kind::MasqueradeFromGuest { volume, .. } => format!(
                "macOS translates only what leaves by an interface: expect the guest's own address, or let `{volume}` be a guest"
            ),
            Kind::MasqueradeFromMac { volume, .. } => format!(
                "macOS translates only what leaves by an interface: expect the sender's own address, or let `{volume}` be a guest"
            ),
            Kind::JitterOnMac => {
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
