//! Networks as people run them (tests/cases/public): fragments, a full state table, NAT of many flows to one server, a
//! masquerade that macOS does not perform, public addresses.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::process::{Child, Stdio};
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket};
use serde_json::Value;

use crate::lab::{Lab, text, within};
use crate::rates::{flows, opened, rendered_mac};
use crate::router::{Net, syn};
use crate::support::{has_lab, root, run};

fn path(name: &str) -> String {
    format!("tests/cases/public/{name}.json")
}

fn input(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(root().join(path(name))).expect("a case")).expect("JSON")
}

/// The client or server in [`datagrams_arrive_whatever_their_size`]; does nothing when run by itself.
#[test]
#[ignore = "runs inside a lab"]
fn the_end_that_asks_or_answers() {
    let say = |name: &str| std::env::var(name);
    let number = |name: &str| say(name).ok().and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    if let Ok(address) = say("CASE_AT") {
        let socket = UdpSocket::bind(address).expect("a socket");
        println!("ready");
        let mut bytes = vec![0; 65_536];
        loop {
            let (_, from) = socket.recv_from(&mut bytes).expect("a datagram");
            // The first two bytes give the length of the answer, which begins with the client's address as seen here.
            let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
            let SocketAddr::V4(seen) = from else { continue };
            let mut answer = seen.ip().octets().to_vec();
            answer.resize(length.max(4), b'!');
            socket.send_to(&answer, from).expect("an answer");
        }
    }
    let Ok(to) = say("CASE_TO") else { return };
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    socket.connect(to.parse::<SocketAddrV4>().expect("an address")).expect("a way");
    let answer = u16::try_from(number("CASE_ANSWER")).expect("a length");
    let mut question = answer.to_be_bytes().to_vec();
    question.resize(number("CASE_ASK"), b'?');
    socket.send(&question).expect("it is sent");
    let mut bytes = vec![0; 65_536];
    match socket.recv(&mut bytes) {
        Ok(length) => println!("arrived {length} {}.{}.{}.{}", bytes[0], bytes[1], bytes[2], bytes[3]),
        Err(error) => println!("lost: {error}"),
    }
}

const MYSELF: [&str; 4] = ["--exact", "cases::the_end_that_asks_or_answers", "--ignored", "--nocapture"];

fn answers(lab: &Lab, node: &str, at: &str, log: &std::path::Path) -> Child {
    let myself = std::env::current_exe().expect("this binary");
    let mut command = lab.command(&["exec", node, "--"]);
    command.arg(myself).args(MYSELF).env("CASE_AT", at).stdout(fs::File::create(log).expect("a file"));
    let child = command.stderr(Stdio::null()).spawn().expect("it starts");
    let is_ready = || fs::read_to_string(log).is_ok_and(|text| text.contains("ready"));
    assert!(within(Duration::from_secs(20), is_ready), "{node} does not answer");
    child
}

#[test]
fn datagrams_arrive_whatever_their_size() {
    if !has_lab() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let lab = Lab::up("fragments", &["--input", &path("fragments")]);
    let mut servers = [
        answers(&lab, "g1", "0.0.0.0:5400", &directory.path().join("g1")),
        answers(&lab, "internet", "0.0.0.0:53", &directory.path().join("internet")),
    ];
    let (volume, server) = ("10.2.1.2:5400", "198.51.100.7:53");
    for (from, to, ask, answer, seen) in [
        ("vm2", volume, 1400, 20, "10.1.1.50"),
        ("vm2", volume, 1500, 20, "10.1.1.50"),
        ("vm2", volume, 20, 1500, "10.1.1.50"),
        ("b1", volume, 17_000, 20, "10.1.1.2"),
        ("a1", server, 20, 1500, "192.0.2.10"),
        ("a1", server, 9000, 9000, "192.0.2.10"),
        ("vm1", server, 1500, 20, "192.0.2.10"),
        ("vm1", server, 9000, 9000, "192.0.2.10"),
        ("mac", server, 1500, 1500, "192.0.2.10"),
    ] {
        let myself = std::env::current_exe().expect("this binary");
        let mut command = lab.command(&["exec", from, "--"]);
        command.arg(myself).args(MYSELF).env("CASE_TO", to);
        command.env("CASE_ASK", ask.to_string()).env("CASE_ANSWER", answer.to_string());
        let output = command.output().expect("it runs");
        let told = text(&output);
        assert!(told.contains(&format!("arrived {answer} {seen}\n")), "{from} {ask}/{answer}: {told}");
    }
    for server in &mut servers {
        server.kill().and_then(|()| server.wait()).expect("it ends");
    }
}

#[test]
fn a_full_state_table_fails_the_connections_beyond_it_and_no_others() {
    let mut net = rendered_mac(&input("state-table"));
    // A connection across a link has two states, and the table holds 10,000.
    let count = |router: &mut _, from, port| opened(router, from, "b1", port, 3500);
    let opened = [count(&mut net, "a1", 7000), count(&mut net, "a1", 7001), count(&mut net, "a2", 7002)];
    assert_eq!(opened, [3500, 1500, 0]);
    assert_eq!(net.rules().machine().states(), 10_000);
}

#[test]
fn nat_loses_no_flow_to_one_server() {
    let mut net = rendered_mac(&input("fragments"));
    for (from, first, count) in [("a1", 30_000, 1000), ("a1", 32_000, 4000), ("a2", 32_000, 4000)] {
        assert_eq!(flows(&mut net, from, first, count), (count.into(), count.into()), "{from}");
    }
}

#[test]
fn a_guest_is_not_masqueraded_to_a_volume_that_the_mac_serves() {
    let case = path("masquerade-guest");
    let check = run(&["check", "--input", &case], "");
    let told = text(&check);
    assert_eq!(check.status.code(), Some(0), "{told}");
    assert!(
        told.contains("warning[W002]: links.0.masquerade: ") && told.contains("sees `10.1.1.50`"),
        "{told}"
    );
    let explained = text(&run(&["explain", "vm", "g1:80", "--input", &case], ""));
    let note = "note: links.0 masquerades what leaves by an interface, and this ends where it comes in: g1 sees the source 10.1.1.50\n";
    assert!(explained.contains(note), "{explained}");
    // And indeed it is not masqueraded.
    let mut net = Net::new(&input("masquerade-guest"));
    let [vm, g1] = ["10.1.1.50", "10.2.1.2"].map(|address| address.parse().expect("an address"));
    let (_, got) = net.send_raw(net.id("vm"), &syn(vm, g1, 40_000, 80));
    let (to, bytes) = got.first().expect("it arrives");
    let Some(NetSlice::Ipv4(ip)) = SlicedPacket::from_ip(bytes).expect("a packet").net else {
        panic!("no IPv4")
    };
    assert_eq!((to.as_str(), ip.header().source_addr()), ("g1", vm));
    // With a volume that the Mac serves it is masqueraded, and no note is needed.
    let mut host = input("masquerade-guest");
    host["volumes"]["vm"]["attachment"] = "host".into();
    let told = text(&run(&["check", "--input", "-"], &host.to_string()));
    assert!(!told.contains("warning"), "{told}");
    let explained = text(&run(&["explain", "vm", "g1:80", "--input", "-"], &host.to_string()));
    assert!(!explained.contains("sees the source"), "{explained}");
}

#[test]
fn public_addresses_are_a_warning() {
    let told = |input: &str, stdin: &str| text(&run(&["check", "--input", input], stdin));
    let public = told(&path("public-space"), "");
    assert!(
        public.contains("warning[W001]: providers.aws.network: the network `192.186.10.0/24` is public"),
        "{public}"
    );
    assert!(public.contains("valid\n"), "{public}");
    let mut input = input("public-space");
    for (network, warns) in [
        ("8.8.8.0/24", true),
        ("192.168.10.0/24", false),
        ("100.64.10.0/24", false),
        ("172.31.10.0/24", false),
        ("172.32.10.0/24", true),
        ("198.18.10.0/24", false),
        ("100.128.10.0/24", true),
    ] {
        let at = |host: u8| network.replace(".0/24", &format!(".{host}"));
        input["providers"]["aws"]["network"] = network.into();
        input["providers"]["aws"]["gateway"] = format!("{}/24", at(1)).into();
        input["volumes"]["w1"]["address"] = at(2).into();
        assert_eq!(told("-", &input.to_string()).contains("warning[W001]"), warns, "{network}");
    }
}
