//! The way of a packet: what pf sees of it, hop by hop, and who decides.
//!
//! Sees: place, input, model, plan, pf. Never: reads or prints.

/// The main ruleset that macOS ships in `/etc/pf.conf`: it calls what is loaded below `com.apple`, and filters
/// nothing itself.
pub const STOCK_MAIN: &str = "\
scrub-anchor \"com.apple/*\"
nat-anchor \"com.apple/*\"
rdr-anchor \"com.apple/*\"
dummynet-anchor \"com.apple/*\"
anchor \"com.apple/*\"
";
