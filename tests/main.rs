//! One test binary; the list of modules is its table of contents.

mod pf_corpus;
mod pf_eval;
mod pf_eval_any;
mod pf_eval_states;
mod pf_eval_translate;
mod pf_properties;
mod pf_verdicts;
mod pf_words;
