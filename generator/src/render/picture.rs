//! The topology as a picture: text, SVG and Mermaid, all of one scene.
//!
//! Providers stand in two columns, and the links between them: each link is drawn once, as it was declared, with lines to
//! whoever it names. A mesh is one link and not a line for every pair, so what is drawn grows with what was declared.
//! Sees: model, plan, identity. Never: who asks for it, or a Mac; kernel names are handed in.

mod lanes;
mod layout;
mod mermaid;
mod scene;
mod svg;
mod text;

use std::collections::BTreeMap;

pub use mermaid::mermaid;
pub use scene::Part;
pub use svg::svg;
pub use text::text;

/// The widest line of the text, in columns.
pub const WIDTH: usize = 100;

/// More links are counted, and not drawn: nobody can follow their lines.
const MOST_LINKS: usize = 150;

/// What macOS calls things, by the user's logical names: `bridge-aws` is `bridge2000`. Empty where no Mac was asked.
pub type KernelNames = BTreeMap<String, String>;
