//! The token that a request must carry: random, and new for every run.

use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use subtle::ConstantTimeEq;

/// A secret of 256 bits.
pub struct Token(String);

impl Token {
    /// A new one, from the operating system.
    pub fn new() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
        let mut text = String::new();
        for byte in bytes {
            write!(text, "{byte:02x}")?;
        }
        Ok(Self(text))
    }

    /// The token as it stands in the address of the page.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether it is this one. The time that it takes says nothing about where the two differ.
    pub fn is(&self, other: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(other).into()
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn a_token_is_itself_and_nothing_else() {
        let (one, other) = (Token::new().expect("a token"), Token::new().expect("a token"));
        assert_eq!(one.text().len(), 64);
        assert!(one.is(one.text().as_bytes()));
        for wrong in ["", &one.text()[1..], &format!("{}0", one.text()), other.text()] {
            assert!(!one.is(wrong.as_bytes()), "{wrong}");
        }
    }
}
