//! The toy Mac: one program that stands in for macOS's network commands, over one kernel state.
//!
//! It reproduces what macOS is strict about, so that the manager can be tested on any machine. It is called by symlinks
//! named `ifconfig`, `route`, `pfctl` and so on; the state is the file `../kernel` relative to the link's directory. A
//! command that does not touch the network (`mv`, `awk`) is journaled, so that faults can be injected there too; it is
//! answered here in its most frequent form (`files`), and otherwise handed to the real tool.
//!
//! What needs a reader of pf is asked of a program beside this one (`tests/mac_pf`): this one depends on nothing but Rust's
//! own library, because it is started so often that it is linked against another C library (`tests/rustc.sh`).
//!
//! Sees: facts about macOS. Never: the plan, the templates, or what the manager ought to do.

mod dummynet;
mod escape;
mod fault;
mod files;
mod ifconfig;
mod kernel;
mod misc;
mod net;
mod pf;
mod pfctl;
mod route;
mod turn;
mod world;

use std::env;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use fault::Fault;
use kernel::Kernel;

/// What one command prints, and its exit code.
#[derive(Default)]
struct Answer {
    out: String,
    err: String,
    code: u8,
}

impl Answer {
    fn say(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.out, "{}", line.as_ref());
    }

    fn warn(&mut self, line: impl AsRef<str>) {
        let _ = writeln!(self.err, "{}", line.as_ref());
    }

    fn print(&self) {
        let _ = std::io::stderr().write_all(self.err.as_bytes());
        let _ = std::io::stdout().write_all(self.out.as_bytes());
    }

    fn fail(code: u8, line: impl AsRef<str>) -> Self {
        let mut answer = Self::default();
        answer.warn(line);
        answer.code = code;
        answer
    }
}

/// The exit code for what macOS would do but the manager must never ask for.
const FORBIDDEN: u8 = 99;

fn main() -> ExitCode {
    let mut words = env::args();
    let called = words.next().unwrap_or_default();
    let args: Vec<String> = words.collect();
    let name =
        Path::new(&called).file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
    if name == "toymac" {
        return world::command(&args);
    }
    let Some(root) = root(&called, &name) else {
        eprintln!("toymac: no kernel beside `{called}`");
        return ExitCode::from(FORBIDDEN);
    };
    let told = fault::told(&root);
    if let Some((Fault::Full(_), _)) = told {
        fault::lift_limit();
    }
    turn::take(&root);
    let number = fault::next_number(&root);
    let fault = fault::strikes(told, number);
    if let Some(code) = fault::before(&root, fault) {
        journal(&root, &name, &args, &code.to_string(), '-');
        return ExitCode::from(code);
    }
    let Some((code, mark)) = run(&root, &name, &args, number) else {
        return hand_over(&root, &name, &args, number, told);
    };
    journal(&root, &name, &args, &code.to_string(), mark);
    fault::after(&root, fault);
    ExitCode::from(code)
}

/// Runs one command; returns its exit code, and a mark that says whether the kernel changed (`!`) or not (`=`). None if
/// the real tool has to run.
fn run(root: &Path, name: &str, args: &[String], number: u64) -> Option<(u8, char)> {
    if !world::COMMANDS.contains(&name) && !is_answered(name, args) {
        return None;
    }
    if name == "sleep" {
        fault::open_again(root);
    }
    let text = std::fs::read_to_string(root.join("kernel"));
    let (text, mut kernel) = match text.and_then(|text| Ok((Kernel::at(&text, number)?, text))) {
        Ok((kernel, text)) => (text, kernel),
        Err(error) => {
            eprintln!("toymac: {error}");
            return Some((FORBIDDEN, '='));
        }
    };
    // Output captured on a real Mac takes precedence over what this kernel would print.
    if let Ok(text) = std::fs::read(root.join("captured").join(name)) {
        let _ = std::io::stdout().write_all(&text);
        return Some((0, '='));
    }
    let holes = dummynet::black_holes(&kernel);
    let borrowed: Vec<&str> = args.iter().map(String::as_str).collect();
    let answer = match name {
        "ifconfig" => ifconfig::run(&mut kernel, &borrowed),
        "route" => route::run(&mut kernel, &borrowed),
        "netstat" => route::netstat(&kernel, &borrowed),
        "pfctl" => pfctl::run(&mut kernel, &borrowed),
        "sysctl" => misc::sysctl(&mut kernel, &borrowed),
        "mount" => misc::mount(&kernel, &borrowed),
        "scutil" => misc::scutil(&kernel, &borrowed),
        "launchctl" => misc::launchctl(&mut kernel, &borrowed),
        "ping" => misc::ping(&mut kernel, &borrowed),
        "nc" => misc::nc(&mut kernel, &borrowed),
        "dnctl" => dummynet::run(&mut kernel, &borrowed),
        "ls" => misc::ls(&kernel, root, &borrowed[1..]),
        "stat" => misc::stat(&kernel, &borrowed),
        "ps" => misc::ps(borrowed.last().unwrap_or(&"")),
        "sw_vers" => misc::sw_vers(),
        "logger" => Answer::default(),
        "sleep" => {
            if !turn::pause(root) {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            Answer::default()
        }
        "id" if borrowed == ["-u"] => Answer { out: format!("{}\n", kernel.uid), ..Answer::default() },
        _ => Answer::fail(64, format!("toymac: {name} knows no such use")),
    };
    let after = kernel.text();
    if matches!(name, "pfctl" | "dnctl") {
        dummynet::record(root, &holes, &kernel, &borrowed);
    }
    // A test may have written the file in another form.
    let is_as_before = after == text || Kernel::at(&text, number).is_ok_and(|before| before.text() == after);
    let mark = if is_as_before { '=' } else { '!' };
    if mark == '!'
        && let Err(error) = Kernel::save(root, &after)
    {
        eprintln!("toymac: {error}");
        return Some((FORBIDDEN, mark));
    }
    answer.print();
    Some((answer.code, mark))
}

/// Whether the toy answers a call of a tool that it otherwise leaves to the machine.
fn is_answered(name: &str, args: &[String]) -> bool {
    match name {
        // Waiting one second between two polls is shortened.
        "sleep" => args == ["1"],
        // The manager checks ownership by macOS's format of `ls`.
        // Of a few processes the toy knows as much as the machine's own, which looks at all of them.
        "ps" => args.len() == 6 && args[..5] == ["-o", "pid=", "-o", "lstart=", "-p"],
        "ls" => args.first().is_some_and(|arg| arg == "-lden"),
        _ => false,
    }
}

/// Does what is simple itself, or replaces this process with the machine's own tool of that name, found outside the toy's
/// directory. The call is journaled before, with the mark `.` and no exit code.
fn hand_over(root: &Path, name: &str, args: &[String], number: u64, told: Option<(Fault, u64)>) -> ExitCode {
    journal(root, name, args, "-", '.');
    let fault = fault::strikes(told, number);
    // The disk of the caller: how large its files may be once it is full, and from which command on it is.
    let disk = match told {
        Some((Fault::Full(bytes), from)) => Some((bytes, from)),
        _ => None,
    };
    // On a full disk the real tool has to fail.
    if disk.is_none()
        && let Some(answer) = files::run(name, args)
    {
        answer.print();
        fault::after(root, fault);
        return ExitCode::from(answer.code);
    }
    if name == "sleep" {
        // Whoever takes this Mac away ends what waits on it.
        let _ = std::fs::write(root.join("slept"), "");
    }
    let own = root.join("bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let real = env::split_paths(&path)
        .filter(|dir| *dir != own)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    let Some(real) = real else {
        eprintln!("{name}: command not found");
        return ExitCode::from(127);
    };
    if let Some((bytes, from)) = disk
        && number >= from
    {
        fault::restore_limit(bytes);
    }
    let mut tool = Command::new(real);
    match args {
        // macOS's `date -r` takes seconds, GNU's takes a file.
        [dash, seconds, form] if name == "date" && dash == "-r" => {
            tool.args(["-d", &format!("@{seconds}"), form]);
        }
        args => drop(tool.args(args)),
    }
    tool.stdin(Stdio::inherit());
    if fault.is_none() {
        let error = tool.exec();
        eprintln!("{name}: {error}");
        return ExitCode::from(126);
    }
    let status = tool.status();
    fault::after(root, fault);
    let code =
        status.map_or(126, |status| status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(128));
    ExitCode::from(code)
}

/// The directory that holds `bin` and `kernel`, found from the link that was called.
fn root(called: &str, name: &str) -> Option<PathBuf> {
    let beside = |dir: &Path| {
        let root = dir.parent()?.to_path_buf();
        root.join("kernel").is_file().then_some(root)
    };
    if called.contains('/') {
        return beside(Path::new(called).parent()?);
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).filter(|dir| dir.join(name).exists()).find_map(|dir| beside(&dir))
}

/// Appends one line per call to the journal: exit code, mark, and the words, separated by tabs.
fn journal(root: &Path, name: &str, args: &[String], code: &str, mark: char) {
    let mut line = format!("{code}\t{mark}\t{name}");
    for arg in args {
        line.push('\t');
        // Of a program that is passed as an argument, only the first line is kept.
        line.push_str(&escape::escape(arg.split('\n').next().unwrap_or_default()));
    }
    line.push('\n');
    let file = std::fs::OpenOptions::new().create(true).append(true).open(root.join("journal"));
    if let Ok(mut file) = file {
        let _ = file.write_all(line.as_bytes());
    }
}
