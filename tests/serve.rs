//! `serve`: what it shows of a lab and of a Mac, and every kind of request that must not get through.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::lab::{Lab, within};
use crate::network::{Network, small};
use crate::schema::validator_of;
use crate::status::collected;
use crate::support::{has_lab, program, root, run};

/// A server, with the address that it printed.
pub struct Server {
    child: Child,
    pub url: String,
    /// `127.0.0.1:PORT`.
    pub host: String,
    pub token: String,
}

/// A response: its status, its head and its body.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Server {
    pub fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let mut command = program();
        command.arg("serve").args(arguments).current_dir(root()).env("NIXVOL_LAB", lab.address());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut url = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut url).expect("an address");
        let url = url.trim().to_owned();
        let (host, token) =
            url.strip_prefix("http://").and_then(|it| it.split_once("/?token=")).expect("an address");
        let (host, token) = (host.to_owned(), token.to_owned());
        Self { child, url, host, token }
    }

    /// Sends bytes, and reads what comes back until the server closes.
    fn send(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.host).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        // A server that refuses the head closes before it has read all of it.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    /// A request with these headers and a body; `HOST` and `TOKEN` are those of the server.
    fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        for header in headers {
            head = head + header + "\r\n";
        }
        if !body.is_empty() {
            head = format!("{head}Content-Length: {}\r\n", body.len());
        }
        let head = head.replace("HOST", &self.host).replace("TOKEN", &self.token);
        self.send(format!("{head}\r\n{body}").as_bytes())
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &["Host: HOST", "X-Nixvol-Token: TOKEN"], "")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &POST, &body.to_string())
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.get("/state").body).expect("JSON")
    }

    fn signal(&mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The headers of the page's own writes.
const POST: [&str; 4] =
    ["Host: HOST", "X-Nixvol-Token: TOKEN", "Origin: http://HOST", "Content-Type: application/json"];

fn cut() -> Value {
    json!({ "action": "partition", "one": "aws", "other": "azure" })
}

#[test]
fn no_forged_request_gets_through() {
    let server = Server::start(&Lab::nowhere("guarded"), &[]);
    let body = cut().to_string();
    // Each differs from a good request in one thing.
    let good = server.ask("POST", "/fault", &POST, &body);
    assert_eq!((good.status, good.body.contains("no lab is up")), (409, true), "{good:?}");
    let but = |header: &str, other: &str| {
        let headers: Vec<&str> = POST
            .iter()
            .map(|it| if it.starts_with(header) { other } else { it })
            .filter(|it| !it.is_empty())
            .collect();
        server.ask("POST", "/fault", &headers, &body)
    };
    for (header, other, status) in [
        ("Host", "Host: evil.example", 403),
        ("Host", "Host: 127.0.0.1", 403),
        ("Host", "", 403),
        ("Origin", "Origin: http://evil.example", 403),
        ("Origin", "Origin: null", 403),
        ("Origin", "", 403),
        ("X-Nixvol-Token", "X-Nixvol-Token: 0", 403),
        ("X-Nixvol-Token", "Cookie: token=TOKEN", 403),
        ("X-Nixvol-Token", "", 403),
        ("Content-Type", "Content-Type: text/plain", 415),
        ("Content-Type", "", 415),
    ] {
        let answer = but(header, other);
        assert_eq!(answer.status, status, "{header}: {other}: {answer:?}");
        assert!(!answer.head.contains("access-control-"), "{answer:?}");
    }
    for path in ["/", "/?token=", "/?token=0", "/?key=TOKEN", "/?token=TOKEN&token=TOKEN"] {
        assert_eq!(server.ask("GET", path, &["Host: HOST"], "").status, 403, "{path}");
    }
    for path in ["/state", "/events", "/fault", "/nowhere", "/../Cargo.toml", "/state?token=TOKEN"] {
        assert_eq!(server.ask("GET", path, &["Host: HOST"], "").status, 403, "{path}");
    }
    let rebound = server.ask("GET", "/?token=TOKEN", &["Host: evil.example"], "");
    assert_eq!(rebound.status, 403);
    assert!(!rebound.body.contains(&server.token));
}

#[test]
fn methods_paths_and_sizes_are_limited() {
    let server = Server::start(&Lab::nowhere("limited"), &[]);
    for path in ["/fault", "/heal"] {
        assert_eq!(server.get(path).status, 405, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = server.ask(method, "/state", &POST, "{}");
        assert_eq!(answer.status, 405, "{method}");
    }
    // The answer to a preflight request permits nothing.
    let headers = ["Host: HOST", "Origin: http://evil.example", "Access-Control-Request-Method: POST"];
    let preflight = server.ask("OPTIONS", "/fault", &headers, "");
    assert_eq!((preflight.status, preflight.head.contains("access-control")), (403, false));
    for path in ["/Cargo.toml", "/%2e%2e/Cargo.toml", "//etc/passwd", "/state/", "/etc/passwd"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    let long = json!({ "action": "partition", "one": "a".repeat(5000) });
    assert_eq!(server.post("/fault", &long).status, 413);
    let long = format!("X-Long: {}", "a".repeat(20_000));
    assert_eq!(server.ask("GET", "/state", &["Host: HOST", "X-Nixvol-Token: TOKEN", &long], "").status, 431);
    let many: Vec<String> = (0..100).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let many = [&["Host: HOST", "X-Nixvol-Token: TOKEN"], many.as_slice()].concat();
    assert_eq!(server.ask("GET", "/state", &many, "").status, 431);
    for (body, status) in [
        (json!({ "action": "format", "one": "aws" }), 422),
        (json!({ "action": "partition", "one": "aws", "stranger": 1 }), 422),
        (json!({ "action": "partition" }), 422),
        (json!({ "action": "partition", "one": "aws", "latencyMs": 3 }), 400),
        (json!({ "action": "partition", "one": "aws", "seconds": 0 }), 400),
        (json!({ "action": "partition", "one": "aws", "seconds": -1 }), 400),
        (json!({ "action": "slow", "one": "aws", "latencyMs": 70_000 }), 422),
    ] {
        let answer = server.post("/fault", &body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    assert_eq!(server.ask("POST", "/heal", &POST, "{").status, 400);
}

#[test]
fn every_response_forbids_what_it_does_not_need() {
    let server = Server::start(&Lab::nowhere("headers"), &[]);
    let page = server.ask("GET", "/?token=TOKEN", &["Host: HOST"], "");
    assert_eq!(page.status, 200);
    assert!(!page.body.contains(&server.token), "the page does not repeat its token");
    let refused = server.ask("GET", "/", &["Host: HOST"], "");
    for answer in [&page, &refused, &server.get("/state"), &server.get("/nowhere")] {
        for header in [
            "referrer-policy: no-referrer",
            "x-frame-options: deny",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "content-security-policy: default-src 'none';",
            "frame-ancestors 'none'",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.head.contains(header), "{header}: {answer:?}");
        }
        assert!(!answer.head.contains("set-cookie") && !answer.head.contains("unsafe"), "{answer:?}");
    }
    // Nothing is asked of other hosts: no address of another one is in the page but names of namespaces.
    let others =
        page.body.split("http").skip(1).filter(|rest| rest.starts_with("://") || rest.starts_with("s://"));
    let others: Vec<&str> = others.filter(|rest| !rest.starts_with("://www.w3.org/")).collect();
    assert_eq!(others, Vec::<&str>::new());
}

#[test]
fn only_the_loopback_interface_is_listened_on() {
    for address in ["0.0.0.0:0", "10.0.1.2:0", "[::]:0"] {
        let output = run(&["serve", "--listen", address], "");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{address}");
        assert!(
            error.contains("is not an address of the loopback interface") && error.contains("hint:"),
            "{error}"
        );
    }
    let server = Server::start(&Lab::nowhere("listen"), &["--listen", "127.0.0.1:0"]);
    let taken = run(&["serve", "--listen", &server.host], "");
    let error = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert_eq!(taken.status.code(), Some(2), "{error}");
    assert!(error.contains(&format!("cannot listen on {}", server.host)), "{error}");
    for (arguments, said) in [
        (["--input", "-"], "standard input can be read only once"),
        (["--input", "/nowhere"], "cannot read"),
        (["--from", "/nowhere"], "cannot look into /nowhere"),
        (["--listen", "localhost"], "invalid"),
    ] {
        let output = run(&[&["serve"], &arguments[..]].concat(), "");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), error.contains(said)), (Some(2), true), "{arguments:?}: {error}");
    }
}

#[test]
fn a_signal_ends_it_also_while_a_page_is_open() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(&Lab::nowhere("signal"), &[]);
        let mut stream = TcpStream::connect(&server.host).expect("it listens");
        let request = format!(
            "GET /events HTTP/1.1\r\nHost: {}\r\nX-Nixvol-Token: {}\r\n\r\n",
            server.host, server.token
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("an answer");
        assert!(line.contains("200"), "{line}");
        let began = Instant::now();
        assert_eq!(server.signal(signal), Some(0));
        assert!(began.elapsed() < Duration::from_secs(3));
    }
}

#[test]
fn a_lab_is_shown_changed_and_waited_for() {
    if !has_lab() {
        return;
    }
    let lab = Lab::nowhere("served");
    let server = Server::start(&lab, &[]);
    let schema = validator_of(&["serve"]);
    let state = || {
        let state = server.state();
        let errors: Vec<String> = schema.iter_errors(&state).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        state
    };
    let before = state();
    assert_eq!((&before["up"], &before["source"]), (&json!(false), &json!("lab")));
    assert!(before["message"].as_str().is_some_and(|it| it.starts_with("no lab is up")), "{before}");
    assert!(server.get("/").body.is_empty() || server.get("/").status == 403);

    assert!(lab.lab(&["up", "--input", "tests/lab/etcd.json"]).status.success());
    let up = state();
    assert_eq!((&up["up"], &up["counters"], &up["faults"]), (&json!(true), &json!([]), &json!([])));
    assert_ne!(up["page"], before["page"]);
    let page = server.ask("GET", "/?token=TOKEN", &["Host: HOST"], "").body;
    assert!(page.contains("worker") && !page.contains("digitalocean"), "the page is that of the lab");

    let connect = "python3 -c 'import socket; s = socket.create_server((\"10.1.1.2\", 2379)); c, _ = s.accept(); c.recv(9); c.send(b\"hello\"); c.recv(9)' >/dev/null 2>&1 &\nsleep 1";
    assert!(lab.sh("etcd-2", connect).status.success());
    let talk = "python3 -c 'import socket, time; s = socket.create_connection((\"10.1.1.2\", 2379)); s.send(b\"hi\"); s.recv(9); time.sleep(20)' >/dev/null 2>&1 &\nsleep 1";
    assert!(lab.sh("etcd-1", talk).status.success());
    let busy = state();
    assert_eq!(
        busy["flows"],
        json!([{ "from": "etcd-1", "to": "etcd-2", "service": "tcp 2379", "connections": 1 }])
    );
    let counters = busy["counters"].as_array().expect("counters");
    let link = counters
        .iter()
        .find(|it| it["label"].as_str().is_some_and(|it| it.starts_with("link:")))
        .expect("a link");
    assert!(link["packets"][0].as_u64() >= Some(4) && link["bytes"][1].as_u64() > Some(200), "{link}");
    assert!(busy["states"].as_u64() >= Some(1), "{busy}");

    let done = server
        .post("/fault", &json!({ "action": "partition", "one": "aws", "other": "azure", "seconds": 60 }));
    assert_eq!((done.status, done.body == "partition aws azure, for 1m\n"), (200, true), "{done:?}");
    let slow = json!({ "action": "slow", "one": "gcp", "latencyMs": 100, "loss": 0.01 });
    assert_eq!(server.post("/fault", &slow).status, 200);
    let faults = state()["faults"].clone();
    assert_eq!(
        (&faults[0]["action"], &faults[1]["conditions"]),
        (&json!("partition"), &json!("100 ms, 1% lost"))
    );
    assert_eq!(lab.status()["faults"].as_array().expect("faults").len(), 2);
    let healed = server.post("/heal", &json!({ "one": "aws", "other": "azure" }));
    assert_eq!((healed.status, healed.body.contains("healed")), (200, true));
    assert_eq!(lab.status()["faults"].as_array().expect("faults").len(), 1);
    for (body, said) in [
        (json!({ "action": "partition", "one": "azur" }), "did you mean `azure`?"),
        (json!({ "action": "slow", "one": "aws" }), "nothing is asked for"),
    ] {
        let wrong = server.post("/fault", &body);
        assert_eq!((wrong.status, wrong.body.contains(said)), (409, true), "{wrong:?}");
    }

    assert!(lab.lab(&["down"]).status.success());
    let gone = state();
    assert!(gone["message"].as_str().is_some_and(|it| it.starts_with("the lab has ended")), "{gone}");
    assert!(lab.lab(&["up", "--input", "tests/fixtures/restricted.json"]).status.success());
    assert!(within(Duration::from_secs(5), || state()["up"] == true));
    assert_ne!(state()["page"], up["page"], "a lab that comes back is another one");
}

#[test]
fn events_tell_each_change() {
    if !has_lab() {
        return;
    }
    let lab = Lab::up("events", &["--input", "tests/fixtures/restricted.json"]);
    let server = Server::start(&lab, &[]);
    let mut stream = TcpStream::connect(&server.host).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let request =
        format!("GET /events HTTP/1.1\r\nHost: {}\r\nX-Nixvol-Token: {}\r\n\r\n", server.host, server.token);
    stream.write_all(request.as_bytes()).expect("a request");
    let mut lines = BufReader::new(stream).lines();
    let mut next = || -> Value {
        let line =
            lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("data: ")).expect("an event");
        serde_json::from_str(line.trim_start_matches("data: ")).expect("JSON")
    };
    assert_eq!(next()["faults"], json!([]));
    thread::scope(|scope| {
        scope.spawn(|| lab.lab(&["partition", "aws"]));
        let told = (0..20).map(|_| next()).find(|live| live["faults"] != json!([])).expect("a fault");
        assert_eq!((&told["faults"][0]["from"], &told["faults"][0]["to"]), (&json!("aws"), &Value::Null));
    });
}

#[test]
fn a_mac_is_shown_and_not_changed() {
    let network = Network::new(&small());
    network.ok("start");
    network.ok("partition aws --for 1h");
    let (directory, _) = collected(&network, "served");
    let directory = directory.to_string_lossy().into_owned();
    let server = Server::start(&Lab::nowhere("mac"), &["--from", &directory]);
    let state = server.state();
    let errors: Vec<String> =
        validator_of(&["serve"]).iter_errors(&state).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert_eq!(
        (&state["source"], &state["up"], &state["healthy"]),
        (&json!("mac"), &json!(true), &json!(true)),
        "{state}"
    );
    assert_eq!((&state["packets"], &state["flows"]), (&Value::Null, &Value::Null));
    let faults = state["faults"].as_array().expect("faults");
    assert_eq!(
        (faults.len(), &faults[0]["action"], &faults[0]["from"]),
        (1, &json!("partition"), &json!("aws"))
    );
    assert_eq!((&faults[0]["to"], &faults[0]["conditions"]), (&Value::Null, &Value::Null));
    assert!(faults[0]["seconds"].as_u64().is_some_and(|it| (3_000..=3_600).contains(&it)), "{state}");
    assert!(!state["counters"].as_array().expect("counters").is_empty(), "{state}");
    let page = server.ask("GET", "/?token=TOKEN", &["Host: HOST"], "").body;
    assert!(page.contains("id=\"now\"") && !page.contains("id=\"trouble\""), "no controls");
    for (path, body) in [("/fault", cut()), ("/fault", json!({})), ("/heal", json!({ "one": "aws" }))] {
        let answer = server.post(path, &body);
        assert_eq!((answer.status, answer.body.contains("read-only")), (403, true), "{answer:?}");
    }
    // What is not as declared is told at the next look; a capture that is gone is no end.
    let routes = std::path::Path::new(&directory).join("netstat-rn");
    std::fs::write(&routes, "").expect("a file");
    let drifted = server.state();
    assert_eq!(drifted["healthy"], false);
    assert!(!drifted["findings"].as_array().expect("findings").is_empty(), "{drifted}");
    std::fs::rename(&directory, format!("{directory}-gone")).expect("it moves");
    let gone = server.state();
    assert!(gone["message"].as_str().is_some_and(|it| it.starts_with("nothing can be seen: ")), "{gone}");
}
