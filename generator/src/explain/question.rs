//! A question, and why one cannot be answered.

use std::fmt;

/// A question: whether and how a packet gets from a source to a destination.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The endpoint that opens.
    pub source: &'a str,
    /// The endpoint to be reached, followed by `:PORT` if the protocol has ports.
    pub destination: &'a str,
    /// The name or number of the protocol; `None` means TCP with a port and ICMP without.
    pub protocol: Option<&'a str>,
    /// The egress interface.
    pub egress: &'a str,
}

/// A question that cannot be answered: the reason, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// What is wrong with the question.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
