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
//! Data flows one way. [`input`] mirrors the JSON that Nix evaluates and knows shapes only; [`model`] holds values
//! that cannot be wrong; [`plan`] says what must be true on the Mac, without a word of pf, shell or XML; [`render`]
//! writes it down. [`pf`] reads rulesets as a kernel does, and [`prove`] holds what was rendered against the policy.
//!
//! **Architecture Invariant:** the writer of rules and the reader of rules share no code. `render` never sees `pf`,
//! `pf` sees nothing of this project, and `prove` sees `plan` and `pf` but never `render`. A mistake in one is
//! found by the other.
//!
//! **Architecture Invariant:** nothing validates behind [`model`]. Whoever holds a [`model::Declaration`] knows that
//! networks do not overlap and every link end exists; whoever could not make one got everything that is wrong
//! with it at once, as [`problem`]s with their [`place`]s.
//!
//! **Architecture Invariant:** a template places, it never decides. It gets one typed struct of strings, numbers
//! and lists, and every value is escaped by the language of the file, or refused.
//!
//! **Architecture Invariant:** nothing here reads, writes or prints. Only the program does (`main`, `cli`,
//! `commands`, `disk`, `lab`), so that everything else can be tested as a function.
//!
//! **Architecture Invariant:** no order of the input and no kernel name reaches the plan. Links and names are
//! sorted once, in [`model`]; macOS hands out kernel names, and only the manager keeps them.
//!
//! # Rooms
//!
//! | room | what it is |
//! |---|---|
//! | [`place`] | where a value stands, in the input and in the user's Nix source |
//! | [`problem`] | what can be wrong, and its words |
//! | [`source`] | which text of a Nix file a position means, and which Mac it belongs to (rnix) |
//! | [`diagnostic`] | problems as people and programs read them |
//! | [`input`] | the raw mirror of the JSON, and its schema |
//! | [`model`] | the declaration, valid by construction |
//! | [`plan`] | what must be true on the Mac; [`plan::policy`] is the truth about packets, [`plan::pipes`] what ways are like |
//! | [`matrix`] | who may open connections to whom, as a table |
//! | [`render`] | every file of the bundle |
//! | [`loading`] | the anchor with the names of a Mac's interfaces put in |
//! | [`pf`] | the reader of pf: syntax, canonical print, and what a kernel does with a packet |
//! | [`packets`] | exact sets and functions of packets, for whoever asks about all of them |
//! | [`reach`] | what becomes of whatever anyone opens to anyone, for all flows |
//! | [`expect`] | what the user says must, or must never, get through |
//! | [`prove`] | the rules against the policy, for all packets |
//! | [`explain`] | the way of one packet, and who decides |
//! | [`diff`] | what a change opens and closes |
//! | [`edit`] | a change made in the user's own Nix file (rnix) |
//! | [`report`] | one page to look at, which answers questions |
//! | [`wire`] | the bytes of packets |
//! | [`router`] | the Mac's part in a network of real programs: bytes in, bytes out |
//! | [`replay`] | what Apple's own stack did, played through the router |
//! | [`scenario`] | faults between volumes and providers at set times, as a file says them |
//! | [`darwin`] | what macOS's commands print, as values |
//! | [`others`] | what else decides on a Mac |
//! | [`status`] | the Mac against the plan |
//! | [`help`] | the pages of `nixvol-net help`, one for each code |
//!
//! `tests/house.rs` holds the direction of imports.

pub mod darwin;
pub mod diagnostic;
pub mod diff;
pub mod edit;
pub mod expect;
pub mod explain;
pub mod help;
pub mod input;
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
pub mod wire;
