//! One test binary; the list of modules is its table of contents.

mod pf_corpus;
mod pf_properties;
