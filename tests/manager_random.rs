//! Random sequences of operations on a network: other declarations are installed, commands run with and without
//! injected faults, other programs interfere. After every step the invariants must hold. A sequence depends on its seed
//! alone: `NIXVOL_SEED=7` repeats the seventh.
//!
//! A second toy Mac gets only the actions of the other programs: everything foreign must be the same on both.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::network::{HOSTS, Network};
use crate::rig::{Mac, settled};
use crate::support::is_long;

/// The number of sequences and of their steps, by default and with `NIXVOL_LONG`.
const SHORT: (u64, usize) = (3, 14);
const LONG: (u64, usize) = (40, 30);

/// Xorshift: deterministic on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % n
    }

    fn one<'a, T>(&mut self, list: &'a [T]) -> Option<&'a T> {
        if list.is_empty() { None } else { Some(&list[self.below(list.len())]) }
    }
}

/// A random declaration of up to three providers, with a few volumes and at most one link.
fn declaration(random: &mut Random) -> Value {
    let mut input = json!({ "version": 1, "providers": {}, "volumes": {}, "links": [] });
    let mut names = Vec::new();
    for (number, name) in ["aws", "azure", "gcp"].into_iter().enumerate() {
        if random.below(4) > 0 {
            names.push((number, name));
            input["providers"][name] = json!({
                "network": format!("10.{number}.0.0/16"),
                "gateway": format!("10.{number}.1.1/24"),
                "internet": random.below(3) > 0,
            });
        }
    }
    for n in 2..8 {
        let Some((number, provider)) = random.one(&names).copied() else { continue };
        if random.below(2) == 0 {
            continue;
        }
        let attachment = if random.below(4) == 0 { "guest" } else { "host" };
        let mut volume = json!({ "provider": provider, "address": format!("10.{number}.1.{n}"), "attachment": attachment });
        if random.below(2) == 0 {
            volume["localhost"] = json!(format!("127.0.1.{n}"));
        }
        input["volumes"][format!("volume-{n}")] = volume;
    }
    if names.len() > 1 && random.below(2) == 0 {
        let mut link = json!({ "from": [names[0].1], "to": [names[1].1], "protocol": "tcp", "ports": [443 + random.below(2)] });
        if random.below(3) > 0 {
            link["bidirectional"] = json!(random.below(2) == 0);
            link["conditions"] = json!({ "latencyMs": 20 * random.below(3), "loss": 0.25 });
        }
        input["links"] = json!([link]);
    }
    input
}

/// The fields of every record of a kind.
fn records<'a>(kernel: &'a str, kind: &str) -> Vec<Vec<&'a str>> {
    kernel
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|fields| fields[0] == kind)
        .collect()
}

/// The number of a pipe record if the pipe is ours; those of other programs are below 20000 or from 20100 up.
fn our_pipe(record: &str) -> Option<u16> {
    let number = record.strip_prefix("pipe\t")?.split('\t').next()?.parse().ok()?;
    (20_000..20_100).contains(&number).then_some(number)
}

fn is_ours(ip: &str) -> bool {
    ip.starts_with("10.") || ip.starts_with("127.0.1.")
}

/// A Mac with the network, the Mac as it would be without it, and the steps so far.
struct Life {
    network: Network,
    others: Mac,
    /// Every declaration that was installed, with its rendered anchor.
    installed: Vec<(Value, String)>,
    random: Random,
    history: Vec<String>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let input = declaration(&mut random);
        let network = Network::new(&input);
        let others = Mac::new();
        if seed.is_multiple_of(2) {
            network.mac.spare_dummynet();
            others.spare_dummynet();
        }
        let mut life =
            Self { network, others, installed: Vec::new(), random, history: vec![format!("seed {seed}")] };
        life.remember(input);
        life
    }

    /// Records an installed declaration with its anchor.
    fn remember(&mut self, input: Value) {
        let anchor = self.network.base().join("pf/anchor.conf");
        self.installed.push((input, std::fs::read_to_string(anchor).expect("an installed anchor")));
    }

    /// The declaration that was applied last, recognized by the manager's copy of its table and anchor.
    fn applied(&self) -> &Value {
        let copy = ["starting", "applied"].map(|file| self.network.state().join(file));
        let copy =
            copy.iter().find_map(|file| std::fs::read_to_string(file).ok()).expect("a network in force");
        let volumes = |input: &Value| input["volumes"].as_object().expect("volumes").clone();
        let is_it = |(input, anchor): &&(Value, String)| {
            let has = |(name, volume): (&String, &Value)| {
                let address = volume["address"].as_str().expect("an address");
                copy.lines().any(|line| line.contains(name.as_str()) && line.contains(address))
            };
            copy.ends_with(anchor.as_str()) && volumes(input).iter().all(has)
        };
        let candidates = self.installed.iter().filter(is_it);
        &candidates.max_by_key(|(input, _)| volumes(input).len()).expect("a declaration that was installed").0
    }

    /// Our interfaces: those that the other Mac does not have.
    fn interfaces(&self) -> Vec<String> {
        let others = self.others.kernel();
        let theirs: BTreeSet<&str> = records(&others, "if").iter().map(|fields| fields[1]).collect();
        let kernel = self.network.mac.kernel();
        let all = records(&kernel, "if");
        all.iter().map(|fields| fields[1]).filter(|name| !theirs.contains(name)).map(str::to_owned).collect()
    }

    /// An action of another program on its own things, on both Macs.
    fn both(&self, line: &str) {
        self.network.mac.ok(line);
        self.others.ok(line);
    }

    /// Another program changes something of ours, or of its own. Returns a description.
    fn interfere(&mut self) -> String {
        let ours = self.interfaces();
        let kernel = self.network.mac.kernel();
        let mac = &self.network.mac;
        match self.random.below(12) {
            0 | 1 => {
                let Some(name) = self.random.one(&ours) else { return "nothing".to_owned() };
                mac.ok(&format!("ifconfig {name} destroy"));
                format!("{name} is destroyed")
            }
            2 | 3 => {
                let lo = records(&kernel, "if")[0][9];
                let ours: Vec<&str> = lo.split(',').filter(|ip| is_ours(ip)).collect();
                let Some(ip) = self.random.one(&ours) else { return "nothing".to_owned() };
                let ip = ip.split('/').next().unwrap_or_default();
                mac.ok(&format!("ifconfig lo0 -alias {ip}"));
                format!("{ip} is taken from lo0")
            }
            4 => {
                let routes = records(&kernel, "route");
                let ours: Vec<_> = routes
                    .iter()
                    .filter(|r| ours.iter().any(|name| name == r[4]) && r[1].ends_with("/16"))
                    .collect();
                let Some(route) = self.random.one(&ours) else { return "nothing".to_owned() };
                mac.ok(&format!("route -n delete -net {} -interface {}", route[1], route[4]));
                format!("the route {} is deleted", route[1])
            }
            5 => {
                mac.ok("sysctl -w net.inet.ip.forwarding=0");
                "forwarding is off".to_owned()
            }
            6 => {
                mac.ok("pfctl -a com.apple/250.nixvol -F all");
                "our anchor is emptied".to_owned()
            }
            7 => {
                mac.reboot();
                self.others.reboot();
                "the power goes and comes back".to_owned()
            }
            8 => self.another_interface(),
            9 => self.another_pipe(),
            10 => self.harm_pipes(&kernel),
            _ => {
                let (from, to) =
                    if kernel.contains("UGScg\ten0\t") { ("en0", "en1") } else { ("en1", "en0") };
                for mac in [&self.network.mac, &self.others] {
                    mac.edit(|kernel| kernel.replace(&format!("UGScg\t{from}\t"), &format!("UGScg\t{to}\t")));
                }
                format!("the way out is {to}")
            }
        }
    }

    /// Another program creates an interface in our range under a name that we never used, or removes it again.
    fn another_interface(&mut self) -> String {
        let name = *self.random.one(&["bridge2000", "bridge2001", "feth20000", "feth20003"]).expect("four");
        if records(&self.others.kernel(), "if").iter().any(|fields| fields[1] == name) {
            self.both(&format!("ifconfig {name} destroy"));
            return format!("another program's {name} goes");
        }
        let names = std::fs::read_to_string(self.network.state().join("names")).unwrap_or_default();
        if names.split(['\t', '\n']).any(|word| word == name) || self.interfaces().iter().any(|it| it == name)
        {
            return "nothing".to_owned();
        }
        self.both(&format!("ifconfig {name} create up"));
        format!("another program makes {name}")
    }

    /// Another program creates a pipe under a number that we never used, or removes it again.
    fn another_pipe(&mut self) -> String {
        let number = *self.random.one(&[7, 20_100, 29_999]).expect("three");
        if self.others.kernel().contains(&format!("\npipe\t{number}\t")) {
            self.both(&format!("dnctl pipe delete {number}"));
            return format!("another program's pipe {number} goes");
        }
        self.both(&format!("dnctl pipe {number} config delay 30"));
        format!("another program makes pipe {number}")
    }

    /// Another program flushes dummynet, including our pipes, or changes one of our pipes.
    fn harm_pipes(&mut self, kernel: &str) -> String {
        let ours = kernel.lines().find_map(our_pipe);
        match (self.random.below(2), ours) {
            (0, _) => {
                self.network.mac.remove("pipe\t");
                self.others.remove("pipe\t");
                "dummynet is flushed".to_owned()
            }
            (_, Some(number)) => {
                self.network.mac.ok(&format!("dnctl pipe {number} config bw 300Kbit/s"));
                format!("pipe {number} is changed")
            }
            (_, None) => "nothing".to_owned(),
        }
    }

    fn step(&mut self) {
        let commands = [
            "start",
            "start",
            "start",
            "stop",
            "reconcile",
            "reconcile",
            "cleanup",
            "partition aws azure",
            "partition gcp volume-3 --for 9999",
            "heal",
        ];
        let command = commands[self.random.below(commands.len())];
        let what = match self.random.below(10) {
            0..=2 => {
                let input = declaration(&mut self.random);
                self.network.install(&input);
                let what = format!("another declaration: {input}");
                self.remember(input);
                what
            }
            3..=4 => self.interfere(),
            5..=6 => format!("{command}, {}", self.run(command, None)),
            _ => {
                let kind = ["fail", "kill-before", "kill-after", "power"][self.random.below(4)];
                let at = 1 + self.random.below(50);
                format!("{command}, {kind} at {at}, {}", self.run(command, Some((kind, at))))
            }
        };
        self.history.push(what);
    }

    fn run(&self, command: &str, fault: Option<(&str, usize)>) -> i32 {
        let session = self.network.mac.kernel();
        let session = session.lines().next().unwrap_or_default().to_owned();
        self.network.mac.forget_journal();
        self.network.mac.fault(fault);
        let code = self.network.run(command).code;
        self.network.mac.fault(None);
        self.named_no_other(command);
        if !self.network.mac.kernel().starts_with(&session) {
            self.others.reboot();
        }
        code
    }

    /// No command that changed the kernel named a foreign interface or pipe.
    fn named_no_other(&self, command: &str) {
        let kernel = self.others.kernel();
        let theirs: BTreeSet<&str> = records(&kernel, "if").iter().map(|fields| fields[1]).collect();
        let pipes: Vec<String> = records(&kernel, "pipe").iter().map(|fields| fields[1].to_owned()).collect();
        for call in self.network.mac.journal().iter().filter(|call| call.mark == '!') {
            let named = call.words.iter().any(|word| word != "lo0" && theirs.contains(word.as_str()));
            let named =
                named || (call.words[0] == "dnctl" && pipes.iter().any(|pipe| call.words.contains(pipe)));
            assert!(!named, "{command}: {}\n  {}", call.line(), self.why());
        }
    }

    fn why(&self) -> String {
        self.history.join("\n  ")
    }

    /// The Mac's state without everything of ours, in the form of [`settled`].
    fn without_us(&self) -> Vec<String> {
        let ours = self.interfaces();
        let kernel = self.network.mac.kernel();
        let kept: String = kernel
            .lines()
            .filter(|line| {
                let fields: Vec<&str> = line.split('\t').collect();
                match fields[0] {
                    "if" => !ours.iter().any(|name| name == fields[1]),
                    "route" => {
                        !(ours.iter().any(|name| name == fields[4])
                            || fields[4] == "lo0" && is_ours(fields[1]))
                    }
                    "anchor" | "count" => {
                        !["com.apple/250.nixvol", "com.apple/249.nixvol-faults"].contains(&fields[1])
                    }
                    "pipe" => our_pipe(line).is_none(),
                    "token" => fields[3] != "pfctl",
                    "job" => fields[1] != "org.nix-volumes.networking",
                    "sysctl" => fields[1] != "net.inet.ip.forwarding",
                    _ => true,
                }
            })
            .map(|line| {
                let mut fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
                if fields[0] == "if" {
                    fields[9] = fields[9].split(',').filter(|ip| !is_ours(ip)).collect::<Vec<_>>().join(",");
                }
                fields.join("\t") + "\n"
            })
            .collect();
        settled(&kept)
    }

    /// The invariants: nothing foreign was changed, and the next reconcile reaches the desired state.
    fn holds(&self) {
        let network = &self.network;
        let mut others = settled(&self.others.kernel());
        others.retain(|line| !line.starts_with("sysctl\tnet.inet.ip.forwarding\t"));
        assert_eq!(self.without_us(), others, "something foreign is not as it was\n  {}", self.why());
        let kept = network.keep();
        network.mac.forget_journal();
        let ran = network.run("reconcile");
        self.named_no_other("reconcile");
        assert_eq!(ran.code, 0, "reconcile: {}{}\n  {}", ran.out, ran.err, self.why());
        assert_eq!(self.without_us(), others, "reconcile touched something foreign\n  {}", self.why());
        if network.wish() == "up" {
            self.is_declared();
        } else {
            self.is_bare();
        }
        network.mac.forget_journal();
        network.ok("reconcile");
        assert_eq!(network.mac.changes(), [""; 0], "a second reconcile\n  {}", self.why());
        // Continue from the state before the repair.
        network.put_back(&kept);
    }

    /// Compares the kernel with the declaration, independently of the manager.
    fn is_declared(&self) {
        let kernel = self.network.mac.kernel();
        let why = self.why();
        let ours = self.interfaces();
        let mut addresses = BTreeSet::from(["127.0.1.1/32".to_owned()]);
        let input = self.applied();
        let volumes = input["volumes"].as_object().expect("volumes");
        for (name, volume) in volumes {
            let text = |field: &str| volume[field].as_str().unwrap_or_default().to_owned();
            if text("attachment") == "host" {
                addresses.insert(text("address") + "/32");
            }
            if volume.get("localhost").is_some() {
                addresses.insert(text("localhost") + "/32");
            }
            let line = format!("{}\t{name}.{}.nixvol {name}.nixvol\n", text("address"), text("provider"));
            assert!(self.network.hosts().contains(&line), "{line} is not among the names\n  {why}");
        }
        let interfaces = records(&kernel, "if");
        let lo0: BTreeSet<String> =
            interfaces[0][9].split(',').filter(|ip| is_ours(ip)).map(str::to_owned).collect();
        assert_eq!(lo0, addresses, "lo0\n  {why}");
        let bridges: Vec<_> = interfaces
            .iter()
            .filter(|i| i[1].starts_with("bridge") && ours.iter().any(|name| name == i[1]))
            .collect();
        let providers = input["providers"].as_object().expect("providers");
        assert_eq!(bridges.len(), providers.len(), "bridges\n  {why}");
        for (name, provider) in providers {
            let gateway = provider["gateway"].as_str().expect("a gateway");
            let bridge = bridges
                .iter()
                .find(|bridge| bridge[9] == gateway)
                .unwrap_or_else(|| panic!("{gateway}\n  {why}"));
            let members = bridge[8].split(',').filter(|member| !member.is_empty()).count();
            let volumes = volumes.values().filter(|volume| volume["provider"] == **name).count();
            assert_eq!((bridge[3], bridge[4], members), ("1", "1", volumes), "{name}\n  {why}");
            let network = provider["network"].as_str().expect("a network");
            let routed =
                records(&kernel, "route").iter().any(|route| route[1] == network && route[4] == bridge[1]);
            assert!(routed, "{network} is not routed to {}\n  {why}", bridge[1]);
        }
        assert_eq!(ours.len(), providers.len() + 2 * volumes.len(), "{ours:?}\n  {why}");
        let tokens = records(&kernel, "token").iter().filter(|token| token[3] == "pfctl").count();
        assert_eq!(tokens, 1, "tokens\n  {why}");
        assert!(kernel.contains("sysctl\tnet.inet.ip.forwarding\t1\n"), "forwarding\n  {why}");
        // A network without providers has no rules.
        let loaded = kernel.contains("anchor\tcom.apple/250.nixvol\t");
        assert_eq!(loaded, !providers.is_empty(), "rules\n  {why}");
        // What is cut is kept, and what is kept is cut.
        let faults = std::fs::read_to_string(self.network.state().join("faults")).unwrap_or_default();
        let blocks = kernel.matches("label \"partition:").count();
        assert_eq!(blocks, 2 * faults.matches("partition\t").count(), "{faults}\n  {why}");
        let link = &input["links"][0];
        let declared = match (&link["conditions"], &link["bidirectional"]) {
            (Value::Null, _) => 0,
            (_, Value::Bool(true)) => 2,
            _ => 1,
        };
        let delay = link["conditions"]["latencyMs"].as_u64().unwrap_or_default().to_string();
        let pipes: Vec<_> = records(&kernel, "pipe")
            .into_iter()
            .filter(|pipe| our_pipe(&pipe.join("\t")).is_some())
            .collect();
        assert_eq!(pipes.len(), declared, "pipes\n  {why}");
        assert!(
            pipes.iter().all(|pipe| pipe[2..] == [delay.as_str(), "536870911", "0"]),
            "{pipes:?}\n  {why}"
        );
        let named = kernel.matches(" pipe 2000").count();
        assert_eq!(named > 0, declared > 0, "rules into pipes\n  {why}");
    }

    /// Checks that nothing of ours is on the Mac outside the state directory.
    fn is_bare(&self) {
        // launchd's job belongs to the installation, not to the network.
        let without_job = |mac: &Mac| {
            let mut lines = settled(&mac.kernel());
            lines.retain(|line| !line.starts_with("job\torg.nix-volumes.networking\t"));
            lines
        };
        let (now, must) = (without_job(&self.network.mac), without_job(&self.others));
        assert_eq!(now, must, "something of ours is there\n  {}", self.why());
        assert_eq!(self.network.hosts(), HOSTS, "{}", self.why());
    }
}

fn live(seed: u64, steps: usize) {
    let mut life = Life::new(seed);
    for _ in 0..steps {
        life.step();
        life.holds();
    }
    let ran = life.network.run("cleanup");
    assert_eq!(ran.code, 0, "cleanup: {}{}\n  {}", ran.out, ran.err, life.why());
    life.is_bare();
    life.network.assert_no_files(&life.why());
}

#[test]
fn invariants_hold_under_random_operations() {
    if let Ok(seed) = std::env::var("NIXVOL_SEED") {
        live(seed.parse().expect("NIXVOL_SEED is a number"), LONG.1);
        return;
    }
    let (lives, steps) = if is_long() { LONG } else { SHORT };
    for seed in 1..=lives {
        live(seed, steps);
    }
}
