//! One test binary; the list of modules is its table of contents.
