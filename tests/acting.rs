//! `run`: sockets that use a volume's address, with real programs, in a namespace that has a Mac's addresses and in the
//! lab; and programs that `run` must refuse because it could not affect them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use nixvol_net::executable::{Obstacle, System, interpreter, is_protected, obstacle};
use object::{Object as _, ObjectSymbol};

use crate::support::{has_namespaces, program, root, run};
use crate::tools::tool;

const PROGRAM: &str = env!("CARGO_BIN_EXE_nixvol-net");

/// A server that prints the address it listens on, and answers each connection with the client's address.
const SERVER: &str = r#"
import socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((sys.argv[1], int(sys.argv[2])))
listener.listen()
print(listener.getsockname()[0], flush=True)
while True:
    connection, address = listener.accept()
    connection.recv(1000)
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + address[0].encode() + b"\n")
    connection.close()
"#;

/// A program whose sockets mostly bind no address: for each, prints what it does, its local address and sometimes its
/// port.
const SOCKETS: &str = r#"
import socket
def tcp(family=socket.AF_INET): return socket.socket(family)
def udp(family=socket.AF_INET): return socket.socket(family, socket.SOCK_DGRAM)
def say(what, one): print(what, one.getsockname()[0], flush=True)
one = tcp(); one.listen(); say("listens", one)
one = tcp(socket.AF_INET6); one.listen(); say("listens-both", one)
one = udp(); one.sendto(b"x", ("10.1.1.2", 9)); say("sends", one)
one = udp(); one.sendmsg([b"x"], [], 0, ("10.1.1.2", 9)); say("sends-message", one)
one = udp(); one.connect(("10.1.1.2", 9)); say("connects-datagrams", one)
one = tcp(socket.AF_INET6); one.connect(("::ffff:10.1.1.2", 80)); say("connects-mapped", one)
one = tcp(); one.bind(("10.2.1.2", 0)); one.connect(("10.1.1.2", 80)); say("bound-itself", one)
one = tcp(); one.bind(("0.0.0.0", 4000)); print("bound-any", *one.getsockname())
one = tcp(socket.AF_INET6); one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1); one.bind(("::", 4001)); say("only-six", one)
one = tcp(socket.AF_INET6); one.bind(("::", 4002)); say("both", one)
one = udp(); one.connect(("127.0.0.1", 9)); say("to-localhost", one)
one = tcp(); one.bind(("127.0.0.1", 0)); one.listen(); say("on-localhost", one)
one = tcp(); one.setblocking(False); one.connect_ex(("10.1.1.2", 80)); say("does-not-block", one)
import os; os.socketpair = None
a, b = socket.socketpair(); a.send(b"x"); print("pair", b.recv(1))
many = [tcp() for _ in range(40)]
for it in many: it.connect(("10.1.1.2", 80))
print("many", {it.getsockname()[0] for it in many}, len({it.getsockname()[1] for it in many}))
"#;

/// Runs a script in a namespace whose loopback has volumes' addresses, as lo0 has on a Mac; `$NIXVOL` is the program.
fn on_a_mac(script: &str) -> Option<Output> {
    if !has_namespaces() {
        return None;
    }
    let home = tempfile::tempdir().expect("a directory");
    fs::write(home.path().join("server.py"), SERVER).expect("a file");
    fs::write(home.path().join("sockets.py"), SOCKETS).expect("a file");
    let script = format!(
        "set -e\nip link set lo up\nfor it in 10.0.1.2 10.1.1.2 10.2.1.2; do ip addr add $it/32 dev lo; done\n{script}"
    );
    let output = Command::new("unshare")
        .args(["-Urn", "--pid", "--fork", "--kill-child", "sh", "-c", &script])
        .env("NIXVOL", PROGRAM)
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .current_dir(home.path())
        .output()
        .expect("unshare runs");
    Some(output)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[test]
fn every_unbound_socket_gets_the_address_of_the_volume() {
    let Some(output) = on_a_mac(
        "python3 server.py 10.1.1.2 80 >server.log &\nwhile ! grep -qs . server.log; do sleep 0.05; done\n\
         \"$NIXVOL\" run etcd-1 -- python3 sockets.py",
    ) else {
        return;
    };
    let wanted = "listens 10.0.1.2\nlistens-both ::ffff:10.0.1.2\nsends 10.0.1.2\nsends-message 10.0.1.2\n\
                  connects-datagrams 10.0.1.2\nconnects-mapped ::ffff:10.0.1.2\nbound-itself 10.2.1.2\n\
                  bound-any 10.0.1.2 4000\nonly-six ::\nboth ::ffff:10.0.1.2\nto-localhost 127.0.0.1\n\
                  on-localhost 127.0.0.1\ndoes-not-block 10.0.1.2\npair b'x'\nmany {'10.0.1.2'} 40\n";
    assert_eq!(text(&output), wanted);
}

#[test]
fn curl_and_children_of_a_shell_use_the_address_of_the_volume() {
    let Some(output) = on_a_mac(
        "\"$NIXVOL\" run etcd-2 -- python3 server.py 0.0.0.0 80 >server.log &\nwhile ! grep -qs . server.log; do sleep 0.05; done\n\
         cat server.log\ncurl -s 10.1.1.2\n\"$NIXVOL\" run etcd-1 -- curl -s 10.1.1.2\n\
         \"$NIXVOL\" run etcd-1 -- sh -c 'curl -s 10.1.1.2; echo \"$NIXVOL_VOLUME $NIXVOL_ADDRESS $NIXVOL_NAME \
         $NIXVOL_PROVIDER $NIXVOL_NETWORK $NIXVOL_GATEWAY $NIXVOL_LOCALHOST\"; echo \"$NIXVOL_HOSTS\" | head -n 1'\n\
         \"$NIXVOL\" run etcd-1 -- \"$NIXVOL\" run etcd-3 -- sh -c 'curl -s 10.1.1.2; echo \"$LD_PRELOAD\" | tr : \"\\n\" | wc -l'\n\
         \"$NIXVOL\" run --no-library etcd-1 -- sh -c 'curl -s 10.1.1.2; curl -s --interface $NIXVOL_ADDRESS 10.1.1.2'",
    ) else {
        return;
    };
    let wanted = "10.1.1.2\n10.1.1.2\n10.0.1.2\n10.0.1.2\n\
                  etcd-1 10.0.1.2 etcd-1.aws.nixvol aws 10.0.0.0/16 10.0.1.1 127.0.1.11\n\
                  10.0.1.2 etcd-1.aws.nixvol etcd-1.nixvol\n10.2.1.2\n1\n10.1.1.2\n10.0.1.2\n";
    assert_eq!(text(&output), wanted);
}

#[test]
fn a_missing_address_fails_the_call() {
    let script = "python3 server.py 10.1.1.2 80 >server.log &\nwhile ! grep -qs . server.log; do sleep 0.05; done\n\
        \"$NIXVOL\" run etcd-1 -- sh -c 'ip addr del 10.0.1.2/32 dev lo; curl -s 10.1.1.2; echo $?; \
        python3 -c \"import socket; socket.socket().listen()\" 2>&1 | tail -n 1'\n\
        \"$NIXVOL\" run etcd-1 -- true || echo $?";
    let Some(output) = on_a_mac(script) else { return };
    let text = text(&output);
    assert!(text.starts_with("7\nOSError: [Errno 99] Cannot assign requested address\n125\n"), "{text}");
    assert!(text.contains("this machine does not have 10.0.1.2, the address of `etcd-1`\nhint: "), "{text}");
}

#[test]
fn in_the_lab_links_apply_to_the_volume() {
    if !has_namespaces() {
        return;
    }
    // etcd-1 gets another preferred source address, as a program on a Mac that binds nothing would have.
    let script = format!(
        "nixvol-net lab exec etcd-2 -- python3 -c '{SERVER}' 0.0.0.0 2379 >/dev/null &
         nixvol-net lab exec etcd-2 -- python3 -c '{SERVER}' 0.0.0.0 5432 >/dev/null &
         as() {{ nixvol-net lab exec etcd-1 -- \"$@\"; }}
         as ip addr add 10.0.9.9/32 dev eth0
         as ip route replace default dev eth0 src 10.0.9.9
         run() {{ as nixvol-net run --input tests/fixtures/restricted.json etcd-1 -- curl -s -m 20 \"$@\"; }}
         i=0; until run 10.1.1.2:2379; do i=$((i + 1)); [ $i -lt 50 ] || exit 1; sleep 0.1; done
         run 10.1.1.2:5432; echo $?
         as nixvol-net run --input tests/fixtures/restricted.json --no-library etcd-1 -- curl -s -m 2 10.1.1.2:2379; echo $?
         nixvol-net lab exec mac -- nixvol-net run --input tests/fixtures/restricted.json etcd-1 -- true; echo $?"
    );
    let home = tempfile::tempdir().expect("a directory");
    let here = Path::new(PROGRAM).parent().expect("a directory");
    let path = std::env::join_paths(
        [here.to_owned()].into_iter().chain(std::env::split_paths(&crate::tools::tools())),
    );
    let output = program()
        .args(["lab", "run", "--input", "tests/fixtures/restricted.json", "--", "sh", "-c", &script])
        .env("PATH", path.expect("a path"))
        .env("HOME", home.path())
        .current_dir(root())
        .output()
        .expect("the program runs");
    // With the link the connection arrives from the volume. Without it, it is refused (curl's exit code 7), and so is
    // one that binds nothing and has 10.0.9.9 as its source.
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(out, "10.0.1.2\n7\n7\n125\n", "{}", text(&output));
}

#[test]
fn programs_that_cannot_load_the_library_are_refused() {
    let refused = |script: &str, words: &str| {
        let Some(output) = on_a_mac(script) else { return };
        assert_eq!(output.status.code(), Some(125), "{script}: {}", text(&output));
        assert!(text(&output).contains(words), "{script}: {}", text(&output));
        assert!(text(&output).contains("\nhint: "), "{script}: {}", text(&output));
    };
    // On Linux a Go program such as etcd does not use libc, so the library cannot affect it; bound by its own flags it
    // works.
    if tool("etcd").is_some() {
        refused("exec \"$NIXVOL\" run etcd-1 -- etcd --version", "is written in Go");
        refused(
            "echo '#!/usr/bin/etcd' >it; chmod +x it; exec \"$NIXVOL\" run etcd-1 -- ./it",
            "is written in Go",
        );
        let told = on_a_mac("exec \"$NIXVOL\" run --no-library etcd-1 -- etcd --version");
        assert!(told.is_none_or(|told| told.status.success()));
    }
    refused(
        "echo 'int main(void) { return 0; }' >it.c; cc -static -o it it.c; exec \"$NIXVOL\" run etcd-1 -- ./it",
        "is statically linked",
    );
    refused("cp /bin/true it; chmod u+s it; exec \"$NIXVOL\" run etcd-1 -- ./it", "setuid");
    refused(
        "exec \"$NIXVOL\" run etcd-9 -- true",
        "there is no volume `etcd-9`\nhint: did you mean `etcd-1`?",
    );
    let unread = run(&["run", "--input", "nowhere.json", "etcd-1", "--", "true"], "");
    assert_eq!((unread.status.code(), text(&unread).contains("cannot read nowhere.json")), (Some(125), true));
    refused("HOME= exec \"$NIXVOL\" run etcd-1 -- true", "set HOME or XDG_CACHE_HOME");
    refused(
        "mkdir 'a b'; HOME=$PWD/a\\ b exec \"$NIXVOL\" run etcd-1 -- true",
        "which LD_PRELOAD cannot hold",
    );
}

#[test]
fn the_exit_code_is_that_of_the_command() {
    let script = "for it in 'sh -c \"exit 7\"' nope /etc/passwd; do eval \"\\\"\\$NIXVOL\\\" run etcd-1 -- $it\" 2>/dev/null || echo $?; done";
    let Some(output) = on_a_mac(script) else { return };
    assert_eq!(text(&output), "7\n127\n126\n");
}

#[test]
fn a_guest_cannot_be_run_on_the_mac() {
    let output = run(&["run", "--input", "tests/fixtures/conditions.json", "talos", "--", "true"], "");
    assert_eq!(output.status.code(), Some(125));
    assert!(
        text(&output).contains("volume `talos` is a guest: a VM has its address\nhint: "),
        "{}",
        text(&output)
    );
}

#[test]
fn the_library_compiles_without_warnings_and_exports_only_what_it_replaces() {
    let Some(cc) = tool("cc") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let library = directory.path().join("preload.so");
    let built = Command::new(cc)
        .args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Wconversion",
            "-Werror",
            "-O2",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
        ])
        .arg("-o")
        .arg(&library)
        .arg(root().join("generator/preload/preload.c"))
        .arg("-ldl")
        .output()
        .expect("cc runs");
    assert!(built.status.success(), "{}", text(&built));
    let bytes = fs::read(&library).expect("the library");
    let file = object::File::parse(&*bytes).expect("a library");
    let mut shown: Vec<&str> =
        file.dynamic_symbols().filter(ObjectSymbol::is_definition).filter_map(|it| it.name().ok()).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["bind", "connect", "listen", "sendmmsg", "sendmsg", "sendto"]);
}

/// A Mach-O program whose code signature has these blobs, each a magic number and its contents.
fn signed(parts: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xfeed_facf_u32, 0x0100_000c, 0, 2, 1, 16, 0, 0, 0x1d, 16, 48, 0] {
        bytes.extend(word.to_le_bytes());
    }
    let mut blobs = Vec::new();
    let mut index = Vec::new();
    for (kind, (magic, data)) in (0_u32..).zip(parts) {
        let at = 12 + 8 * parts.len() + blobs.len();
        index.extend(kind.to_be_bytes());
        index.extend(u32::try_from(at).expect("a small file").to_be_bytes());
        blobs.extend(magic.to_be_bytes());
        blobs.extend(u32::try_from(8 + data.len()).expect("a small file").to_be_bytes());
        blobs.extend(data);
    }
    bytes.extend(0xfade_0cc0_u32.to_be_bytes());
    bytes.extend(u32::try_from(12 + index.len() + blobs.len()).expect("a small file").to_be_bytes());
    bytes.extend(u32::try_from(parts.len()).expect("few").to_be_bytes());
    bytes.extend(index);
    bytes.extend(blobs);
    bytes
}

#[test]
fn programs_of_macos_are_classified_by_path_and_signature() {
    let directory = |flags: u32| (0xfade_0c02, [0x2_0400_u32.to_be_bytes(), flags.to_be_bytes()].concat());
    let allowed = || {
        let text = "<key>com.apple.security.cs.allow-dyld-environment-variables</key><true/>";
        (0xfade_7171, text.as_bytes().to_vec())
    };
    let of = |bytes: &[u8]| obstacle(bytes, System::MacOs);
    assert_eq!(of(&signed(&[directory(0x1_0000)])), Some(Obstacle::Hardened));
    assert_eq!(of(&signed(&[directory(0x1_0000), allowed()])), None);
    assert_eq!(of(&signed(&[directory(0x2)])), None);
    assert_eq!(of(&signed(&[])), None);
    // Truncated files, and files that are not programs, are left for the system to refuse.
    let whole = signed(&[directory(0x1_0000), allowed()]);
    for length in 0..whole.len() {
        let _ = of(&whole[..length]);
        let _ = obstacle(&whole[..length], System::Linux);
    }
    assert_eq!(obstacle(b"not a program", System::Linux), None);
    assert_eq!(obstacle(b"\x7fELF", System::Linux), Some(Obstacle::Foreign));
    for (path, protected) in [
        ("/usr/bin/curl", true),
        ("/bin/sh", true),
        ("/System/Library/x", true),
        ("/usr/local/bin/curl", false),
        ("/opt/homebrew/bin/curl", false),
        ("/nix/store/x/bin/curl", false),
        ("/binary/x", false),
    ] {
        assert_eq!(is_protected(path), protected, "{path}");
    }
    assert_eq!(
        interpreter(b"#!/usr/bin/env python3\nprint()"),
        Some(vec!["/usr/bin/env".into(), "python3".into()])
    );
    assert_eq!(interpreter(b"#!\n"), None);
    assert_eq!(interpreter(b"\x7fELF"), None);
}
