//! The topology as a picture: text, SVG and Mermaid, all from the same scene.
//!
//! Providers are placed in two columns with the links between them. Each link is drawn once, as it was declared, with a
//! line to each of its endpoints. A mesh is thus one link rather than a line for every pair, and the size of the
//! picture grows with the declaration. Sees: model, plan, identity. Never: knows its caller, or accesses a Mac; kernel
//! names are passed in.

mod lanes;
mod layout;
mod mermaid;
mod scene;
mod svg;
mod text;

use std::collections::BTreeMap;

pub use mermaid::mermaid;
pub use scene::Excerpt;
pub use svg::svg;
pub use text::text;

/// The maximum line length of the text picture, in columns.
pub const WIDTH: usize = 100;

/// More links are counted, and not drawn: nobody can follow their lines.
const MOST_LINKS: usize = 150;

/// What macOS calls things, by the user's logical names: `bridge-aws` is `bridge2000`. Empty where no Mac was asked.
pub type KernelNames = BTreeMap<String, String>;
