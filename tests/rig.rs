//! A toy Mac in a temporary directory, with helpers to inspect it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The toy Mac's binary next to this test, with its pf beside it. `cargo test` builds both, but `cargo test --test it` does
/// not, so they are built here if one is missing or older than its source.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("the test has a path");
        let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/test");
        let [toy, pf] = ["toymac", "toymac-pf"].map(|name| profile.join("examples").join(name));
        if !is_fresh(&toy, "tests/mac") || !is_fresh(&pf, "tests/mac_pf") {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            // In the profile of this test, whose library is compiled already.
            let name = if profile.ends_with("release") { "release" } else { "test" };
            build.args(["build", "--quiet", "--profile", name, "--examples"]);
            let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
            assert!(status.expect("cargo runs").success(), "the toy Mac does not build");
        }
        toy
    })
}

fn is_fresh(program: &Path, sources: &str) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let Some(built) = time(program) else {
        return false;
    };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(sources);
    let sources = fs::read_dir(sources).into_iter().flatten().flatten();
    sources.filter_map(|entry| time(&entry.path())).all(|changed| changed <= built)
}

/// The output and exit code of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// One call in the journal.
#[derive(Clone, Debug)]
pub struct Call {
    /// None for a real tool, whose exit code is not recorded.
    pub code: Option<i32>,
    /// `!` if it changed the kernel, `=` if not, `.` for a real tool, `-` if a fault was injected.
    pub mark: char,
    pub words: Vec<String>,
}

impl Call {
    pub fn line(&self) -> String {
        self.words.join(" ")
    }
}

/// A toy Mac in a directory of its own.
pub struct Mac {
    dir: TempDir,
}

impl Mac {
    pub fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let made =
            Command::new(program()).args(["new", &dir.path().join("mac").display().to_string()]).status();
        assert!(made.expect("toymac runs").success());
        Self { dir }
    }

    /// The directory of the Mac's kernel and of the files that a test adds.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("mac")
    }

    pub fn bin(&self) -> PathBuf {
        self.root().join("bin")
    }

    /// Runs one command of the Mac, whose words are separated by blanks.
    pub fn run(&self, line: &str) -> Ran {
        self.run_with(line, None)
    }

    pub fn run_with(&self, line: &str, input: Option<&Path>) -> Ran {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a command");
        let stdin = input.map_or(Stdio::null(), |file| Stdio::from(fs::File::open(file).expect("the input")));
        let output = Command::new(self.bin().join(name)).args(words).stdin(stdin).output();
        Ran::of(&output.expect("the command runs"))
    }

    /// Runs a command that must succeed and print nothing on standard error but pf's usual messages; returns its
    /// output.
    pub fn ok(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
        ran.out
    }

    /// When this process began, as the Mac's `ps` tells it.
    pub fn began(&self) -> String {
        let told = self.ok(&format!("ps -o pid= -o lstart= -p {}", std::process::id()));
        told.trim_start().split_once(' ').expect("a process and a time").1.to_owned()
    }

    pub fn kernel(&self) -> String {
        fs::read_to_string(self.root().join("kernel")).expect("the kernel")
    }

    /// Edits the kernel's state, as other programs would.
    pub fn edit(&self, change: impl FnOnce(String) -> String) {
        fs::write(self.root().join("kernel"), change(self.kernel())).expect("the kernel");
    }

    /// Adds a record after the last one of its kind.
    pub fn add(&self, record: &str) {
        let kind = format!("{}\t", record.split('\t').next().unwrap_or_default());
        self.edit(|kernel| {
            let mut lines: Vec<&str> = kernel.split_inclusive('\n').collect();
            let record = format!("{record}\n");
            let last = lines.iter().rposition(|line| line.starts_with(&kind));
            lines.insert(last.map_or(lines.len(), |at| at + 1), &record);
            lines.concat()
        });
    }

    /// Removes the records that begin with a text.
    pub fn remove(&self, beginning: &str) {
        self.edit(|kernel| {
            let mut lines: Vec<&str> = kernel.split_inclusive('\n').collect();
            lines.retain(|line| !line.starts_with(beginning));
            lines.concat()
        });
    }

    /// Whether a command slept for longer than the second that the toy shortens.
    pub fn has_slept(&self) -> bool {
        self.root().join("slept").exists()
    }

    pub fn journal(&self) -> Vec<Call> {
        let text = fs::read_to_string(self.root().join("journal")).expect("the journal");
        text.lines()
            .map(|line| {
                let mut fields = line.split('\t');
                let code = fields.next().and_then(|code| code.parse().ok());
                let mark = fields.next().and_then(|mark| mark.chars().next());
                Call { code, mark: mark.expect("a mark"), words: fields.map(str::to_owned).collect() }
            })
            .collect()
    }

    pub fn forget_journal(&self) {
        fs::write(self.root().join("journal"), "").expect("the journal");
    }

    /// The calls that changed the kernel since the journal was cleared.
    pub fn changes(&self) -> Vec<String> {
        self.journal().iter().filter(|call| call.mark == '!').map(Call::line).collect()
    }

    /// Injects a fault at the k-th command from now; `None` removes it.
    pub fn fault(&self, fault: Option<(&str, usize)>) {
        let (count, file) = (self.root().join("count"), self.root().join("fault"));
        fs::write(count, "0\n").expect("the counter");
        match fault {
            Some((kind, at)) => fs::write(file, format!("{kind} {at}\n")).expect("the fault"),
            None => fs::write(file, "").expect("the fault"),
        }
    }

    /// From now on `-F all` keeps dummynet's rules, also after a reboot.
    pub fn spare_dummynet(&self) {
        self.add("spares\tdummynet");
        let boot = self.root().join("boot");
        let text = fs::read_to_string(&boot).expect("what a restart leaves");
        fs::write(boot, text + "spares\tdummynet\n").expect("what a restart leaves");
    }

    /// Each time that a command left rules with a missing pipe, one line each: the rule's anchor, the pipe and the
    /// command. Nothing but `forget_holes` clears it.
    pub fn holes(&self) -> String {
        fs::read_to_string(self.root().join("holes")).unwrap_or_default()
    }

    pub fn forget_holes(&self) {
        fs::write(self.root().join("holes"), "").expect("the holes");
    }

    /// Power is lost and the Mac boots again.
    pub fn reboot(&self) {
        let status = Command::new(program()).arg("reboot").arg(self.root()).status();
        assert!(status.expect("toymac runs").success());
    }
}

/// The records of a kernel, sorted, without those that depend only on the order of events: the boot session, our
/// token's number, and when an interface was created (its index and its position in a list).
pub fn settled(kernel: &str) -> Vec<String> {
    let mut records: Vec<String> = kernel
        .lines()
        .filter(|line| !line.starts_with("boot\t"))
        .map(|line| {
            let mut fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
            match fields[0].as_str() {
                "if" => {
                    fields[2].clear();
                    for at in [8, 9] {
                        let mut list: Vec<&str> = fields[at].split(',').collect();
                        list.sort_unstable();
                        fields[at] = list.join(",");
                    }
                }
                "route" if fields[2].starts_with("link#") => "link".clone_into(&mut fields[2]),
                "token" if fields[3] == "pfctl" => fields.truncate(1),
                _ => {}
            }
            fields.join("\t")
        })
        .collect();
    records.sort();
    records
}

/// The names that the tunnel to other Macs has in tests.
pub const TUNNELS: [&str; 2] = ["utun7", "utun9"];

/// The commands that change the Mac and name something that is not ours.
pub fn foreign(journal: &[Call]) -> Vec<String> {
    let unit = |name: &str, cloner: &str, from: u32| {
        name.strip_prefix(cloner).and_then(|unit| unit.parse().ok()).is_some_and(|unit: u32| unit >= from)
    };
    let made = |name: &str| unit(name, "bridge", 2000) || unit(name, "feth", 20000);
    let address = |ip: &str| ip.starts_with("10.") || ip.starts_with("127.0.1.");
    let token = |token: &str| token != "9813589183660731843";
    let ours = |call: &Call| {
        let words: Vec<&str> = call.words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["ifconfig", "lo0", "alias" | "-alias", ip, ..] => address(ip),
            ["ifconfig", name, rest @ ..] => {
                made(name)
                    && rest.iter().all(|word| {
                        !word.starts_with(|c: char| c.is_ascii_lowercase())
                            || !word.ends_with(|c: char| c.is_ascii_digit())
                            || made(word)
                    })
            }
            ["route", "-n", "add" | "delete", "-net", net, "-interface", name] => {
                // A provider on vmnet is routed to vmnet's own bridge, one on another Mac to the tunnel.
                address(net) && (made(name) || unit(name, "bridge", 100) || TUNNELS.contains(name))
            }
            ["dnctl", "pipe", "delete", number] | ["dnctl", "pipe", number, "config", ..] => {
                number.parse().is_ok_and(|number: u16| (20_000..=29_999).contains(&number))
            }
            ["sysctl", "-w", set] => set.starts_with("net.inet.ip.forwarding="),
            ["pfctl", "-a", "com.apple/250.nixvol" | "com.apple/249.nixvol-faults", ..] | ["pfctl", "-E"] => {
                true
            }
            ["pfctl", "-k", from, "-k", to] => address(from) && address(to),
            ["pfctl", "-X", held] => token(held),
            _ => false,
        }
    };
    journal.iter().filter(|call| call.mark == '!' && !ours(call)).map(Call::line).collect()
}
