//! Converts files of other tools to a first declaration: the networks, machines and ports of a Compose file, of a kind
//! cluster, or of Terraform. What has no counterpart is reported with its line, so that nobody mistakes the draft for a
//! complete translation.
//!
//! Sees: place, model. Never: reads a file, or guesses what only the other tool can evaluate.

mod compose;
mod draft;
mod kind;
mod node;
mod terraform;
mod unusable;

pub use draft::{Draft, DraftLink, DraftProvider, DraftVolume};
use node::DocumentNode;
pub use unusable::{Left, Unusable};

/// The tool that a file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Docker Compose.
    Compose,
    /// kind: Kubernetes in Docker.
    Kind,
    /// Terraform: `show -json`, or a configuration in JSON.
    Terraform,
}

/// Converts a file to a draft.
///
/// # Errors
/// If the text is neither YAML nor JSON, or not a file of these tools, or has nothing that could be converted.
pub fn read(text: &str) -> Result<(Tool, Draft), Unusable> {
    let mut documents = node::read(text)?;
    // `---` before the first document or after the last creates an empty document.
    documents.retain(|document| !document.is_empty());
    let is_kind =
        |node: &DocumentNode| node.text("kind") == Some("Cluster") && node.get("apiVersion").is_some();
    if let Some(at) = documents.iter().position(is_kind) {
        let mut draft = kind::draft(&documents[at]);
        for (_, other) in documents.iter().enumerate().filter(|(number, _)| *number != at) {
            let what = other.text("kind").unwrap_or("a document");
            draft.leave(other.line, what, "the first cluster of the file is taken");
        }
        return done(Tool::Kind, draft);
    }
    if !documents.is_empty() && documents.iter().all(compose::is_part) {
        return done(Tool::Compose, compose::draft(&compose::joined(documents)));
    }
    let [document] = documents.as_slice() else { return Err(Unusable::Unknown) };
    let of_terraform = ["values", "planned_values", "resource", "format_version", "terraform_version"];
    if of_terraform.iter().any(|key| document.get(key).is_some()) {
        return done(Tool::Terraform, terraform::draft(document));
    }
    Err(Unusable::Unknown)
}

fn done(tool: Tool, mut draft: Draft) -> Result<(Tool, Draft), Unusable> {
    draft.left.sort_by_key(|left| left.line);
    if draft.providers.is_empty() && draft.volumes.is_empty() {
        return Err(Unusable::Nothing(draft.left));
    }
    Ok((tool, draft))
}
