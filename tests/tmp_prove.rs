use crate::support::*;
use nixvol_net::plan::Plan;
#[test] fn proves() {
    for (t, input) in topologies() {
        let d = declared(&input); let plan = Plan::of(&d);
        let b = rendered(&input);
        match nixvol_net::prove::prove(&plan, &b.files["pf/anchor.conf"].text) { Ok(p) => println!("{t} {p:?}"), Err(nixvol_net::prove::Refutation::Violations(v)) => { println!("{t} REFUTED"); for v in v { println!("  {v}"); } }, Err(e) => println!("{e:?}") }
    }
}
