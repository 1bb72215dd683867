//! How deep the syntax tree of a Nix text would be, from its tokens alone.
//!
//! Parsing, walking and dropping a syntax tree recurse, so a text that nests without bound (100,000 brackets, or one
//! sum of 100,000 terms, whose tree is as deep) would overflow the stack. Sees: rnix's tokens. Never: parses.

use rnix::SyntaxKind;
use rnix::tokenize;

/// The depth up to which a text is parsed. Files that people write stay far below it; a thread's stack of 2 MB suffices
/// for several times as much.
const DEEPEST: usize = 1_000;

/// What a bracket, a string or `let` opens.
struct Level {
    /// Whether what stands side by side here is not nested: the elements of a list, the parts of a string.
    is_flat: bool,
    /// The tokens since the current expression of this level began: an upper bound of its depth.
    tokens: usize,
    /// The `with` and `assert` whose semicolon is still to come: it continues the expression.
    open: usize,
}

impl Level {
    fn new(is_flat: bool) -> Self {
        Self { is_flat, tokens: 0, open: 0 }
    }
}

/// The byte offset at which a text nests too deep to be parsed; `None` if it does not.
pub fn too_deep(text: &str) -> Option<usize> {
    let mut levels = vec![Level::new(false)];
    // The sum of the tokens of all levels, and the levels.
    let mut depth = 1;
    let mut offset = 0;
    for (kind, token) in tokenize(text) {
        let at = offset;
        offset += token.len();
        if kind.is_trivia() {
            continue;
        }
        match kind {
            SyntaxKind::TOKEN_L_BRACK | SyntaxKind::TOKEN_STRING_START => {
                levels.push(Level::new(true));
                depth += 1;
            }
            SyntaxKind::TOKEN_L_BRACE
            | SyntaxKind::TOKEN_L_PAREN
            | SyntaxKind::TOKEN_INTERPOL_START
            | SyntaxKind::TOKEN_LET => {
                levels.push(Level::new(false));
                depth += 1;
            }
            SyntaxKind::TOKEN_R_BRACK
            | SyntaxKind::TOKEN_STRING_END
            | SyntaxKind::TOKEN_R_BRACE
            | SyntaxKind::TOKEN_R_PAREN
            | SyntaxKind::TOKEN_INTERPOL_END
            | SyntaxKind::TOKEN_IN => {
                // One bracket too many is an error of syntax, which the parser reports.
                if levels.len() > 1
                    && let Some(closed) = levels.pop()
                {
                    depth -= closed.tokens + 1;
                }
            }
            _ => {}
        }
        let Some(level) = levels.last_mut() else { continue };
        match kind {
            SyntaxKind::TOKEN_SEMICOLON if level.open > 0 => level.open -= 1,
            SyntaxKind::TOKEN_SEMICOLON | SyntaxKind::TOKEN_COMMA => {
                depth -= level.tokens;
                level.tokens = 0;
                continue;
            }
            SyntaxKind::TOKEN_WITH | SyntaxKind::TOKEN_ASSERT => level.open += 1,
            _ => {}
        }
        if !level.is_flat {
            level.tokens += 1;
            depth += 1;
        }
        if depth > DEEPEST {
            return Some(at);
        }
    }
    None
}
