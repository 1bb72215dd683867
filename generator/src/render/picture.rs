//! The topology as a picture: text, SVG and Mermaid, from one scene.
//!
//! Providers are in two columns, and the link rules run between them, one line each, to which the endpoints of a
//! rule are connected. A mesh is one line and not one for every pair, so the drawing grows with the declaration.
//! Sees: model, plan. Never: who asks for it, or a Mac; kernel names are passed in.

mod lanes;
mod mermaid;
mod scene;
mod svg;
mod text;

use std::collections::BTreeMap;

pub use mermaid::mermaid;
pub use svg::svg;
pub use text::text;

/// The widest line of the text, in columns.
pub const WIDTH: usize = 100;

/// What macOS calls things, by the user's logical names: `bridge-aws` is `bridge2000`. Empty where no Mac was asked.
pub type KernelNames = BTreeMap<String, String>;
