//! nixvol-net: a declared network of volumes, proven and rendered for macOS.
//!
//! # Architecture
//!
//! ```text
//!  JSON ──► input ──► model ──► plan ──► render ──► bytes ──► pf ──► prove ──► a bundle on disk
//!          shapes    values    facts     files               reader   all packets
//!                                 │                                     ▲
//!                                 └────────── policy ───────────────────┘
//! ```
//!
//! Questions about all packets have one engine below them:
//!
//! ```text
//!  plan ──┬──────────► reach ──► expect, explain, diff, report      end to end, by the declaration
//!         │              ▲
//!         │           packets                                       exact sets and functions of packets
//!         │              ▼
//!         └──► policy ─► prove ◄── pf                               hook by hook, by the rules
//! ```
//!
//! Data flows one way. [`input`] mirrors the JSON that Nix evaluates and knows shapes only; [`model`] holds values
//! that cannot be invalid; [`plan`] is the desired state of the Mac, without pf, shell or XML; [`render`] writes it as
//! files. [`pf`] reads rulesets as a kernel does, and [`prove`] compares what was rendered with the policy.
//!
//! **Architecture Invariant:** the writer of rules and the reader of rules share no code. `render` never sees `pf`,
//! `pf` sees nothing of this project, and `prove` sees `plan` and `pf` but never `render`. A mistake in one is
//! found by the other.
//!
//! **Architecture Invariant:** statements about all packets come from [`packets`] and are exact; statements about one
//! packet come from the evaluator of [`pf`] or from [`plan::policy`]; the proof asks both about a packet of every
//! region.
//!
//! **Architecture Invariant:** nothing validates after [`model`]. In a [`model::Declaration`] networks do not overlap
//! and every endpoint of a link exists; if none can be made, all [`problem`]s are reported at once, with their
//! [`place`]s.
//!
//! **Architecture Invariant:** a template places values, it never decides. It gets one typed struct of strings, numbers
//! and lists, and every value is escaped for the language of the file, or refused.
//!
//! **Architecture Invariant:** nothing here reads, writes or prints. Only the program does (`main`, `cli`,
//! `commands`, `disk`, `lab`, `progress`, `serve`), so that everything else can be tested as a function.
//!
//! **Architecture Invariant:** no order of the input and no kernel name reaches the plan. Links and names are
//! sorted once, in [`model`]; macOS assigns kernel names, and only the manager keeps them.
//!
//! # Modules
//!
//! | module | what it is |
//! |---|---|
//! | [`place`] | the place of a value, in the input and in the user's Nix source |
//! | [`problem`] | the problems of a declaration, and their wording |
//! | [`source`] | the text of a Nix file that a position refers to, and the Mac that it belongs to (rnix) |
//! | [`diagnostic`] | problems for people and for programs |
//! | [`input`] | the raw mirror of the JSON, and its schema |
//! | [`model`] | the declaration, valid by construction |
//! | [`plan`] | the desired state of the Mac; [`plan::policy`] decides on packets, [`plan::pipes`] has conditions |
//! | [`identity`] | the colour and the shape of each provider |
//! | [`matrix`] | the permissions between providers, as a table |
//! | [`render`] | every file of the bundle |
//! | [`loading`] | the anchor with the interface names of a Mac substituted |
//! | [`pf`] | the reader of pf: syntax, canonical form, and what a kernel does with a packet |
//! | [`packets`] | exact sets and functions of packets |
//! | [`reach`] | the outcome of all flows, end to end |
//! | [`executable`] | what keeps the library of `run` out of a program |
//! | [`expect`] | the user's expectations, checked for all flows |
//! | [`prove`] | the rules compared with the policy, for all packets |
//! | [`explain`] | the path of one packet, and what decides; who reaches an endpoint, and whom it reaches |
//! | [`diff`] | what a change opens and closes |
//! | [`edit`] | a change of the user's Nix file (rnix) |
//! | [`report`] | one page that shows the network and answers questions |
//! | [`wire`] | the bytes of packets |
//! | `tunnel` | WireGuard between the Macs of a lab: keys and bytes (Linux) |
//! | [`router`] | the Mac's part in a network of real programs: bytes in, bytes out |
//! | [`replay`] | recorded scenarios of Apple's own stack, played through the router |
//! | [`scenario`] | faults between volumes and providers at set times, read from a file |
//! | [`darwin`] | the output of macOS's commands, as values |
//! | [`others`] | what other software decides about packets on a Mac |
//! | [`status`] | the Mac compared with the plan |
//! | [`live`] | the state of a running network at one moment, for the page of `serve` |
//! | [`import`] | the output of other tools, as a first declaration |
//! | [`help`] | the pages of `nixvol-net help` |
//!
//! What `serve` shows comes from two places, and its page is that of the report:
//!
//! ```text
//!  lab ───────────────┐
//!  Mac ──► status ────┴──► live ──► serve ──► the browser
//!  plan ─► report (with its live part) ─┘
//! ```
//!
//! `tests/house.rs` checks the direction of imports, and that no two files use each other.

pub mod darwin;
pub mod diagnostic;
pub mod diff;
pub mod edit;
pub mod executable;
pub mod expect;
pub mod explain;
pub mod help;
pub mod identity;
pub mod import;
pub mod input;
pub mod live;
pub mod loading;
pub mod matrix;
pub mod model;
pub mod others;
pub mod packets;
pub mod pf;
pub mod place;
pub mod plan;
pub mod problem;
pub mod prove;
pub mod reach;
pub mod render;
pub mod replay;
pub mod report;
pub mod router;
pub mod scenario;
pub mod source;
pub mod status;
#[cfg(all(feature = "lab", target_os = "linux"))]
pub mod tunnel;
pub mod wire;
