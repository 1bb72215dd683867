//! The live page in Chromium: counters count, buttons cut and heal, and it works for the keyboard and assistive tools.

use serde_json::{Value, json};

use crate::browser::{NO_CHROMIUM, fetched, gallery, has};
use crate::devtools::Browser;
use crate::lab::Lab;
use crate::serve::Server;
use crate::support::has_lab;

const CONNECT: &str = "python3 -m http.server 2379 --bind 10.1.1.2 >/dev/null 2>&1 & sleep 1";

fn reaches(lab: &Lab) -> bool {
    lab.sh("etcd-1", "curl -sf -m 3 http://etcd-2.nixvol:2379/ -o /dev/null").status.success()
}

fn shown(browser: &mut Browser, id: &str) -> Value {
    browser.eval(&format!("document.getElementById({id:?}).textContent"))
}

#[test]
fn the_live_page_counts_cuts_and_heals() {
    if !has_lab() || !has("chromium", NO_CHROMIUM) {
        return;
    }
    let lab = Lab::up("live-page", &["--input", "tests/lab/etcd.json"]);
    let server = Server::start(&lab, &[]);
    let mut browser = Browser::new((1440, 900));
    browser.go(&server.url);
    browser.wait("document.getElementById('live-state').textContent.includes('the lab is up')");

    // Traffic is counted while the page is open.
    assert!(lab.sh("etcd-2", CONNECT).status.success());
    assert!(reaches(&lab));
    browser.wait("Number(document.getElementById('delivered').textContent.replace(',', '')) > 5");
    browser.wait("document.querySelector('#counters tr td').textContent === 'links.0'");
    let packets =
        browser.eval("Number(document.querySelector('#counters tr').cells[2].textContent.replace(',', ''))");
    assert!(packets.as_f64() > Some(5.0), "{packets}");

    // A cell of the matrix names the ends, and the buttons do what they say.
    browser.click("#provider-matrix tbody tr:nth-child(1) td:nth-of-type(2)");
    assert_eq!(
        browser.eval("['one', 'other'].map((it) => document.getElementById('trouble-' + it).value)"),
        json!(["aws", "azure"])
    );
    browser.click("#close");
    browser.click("#trouble-seconds");
    browser.type_text("60");
    browser.click("#trouble button[value=partition]");
    browser.wait("document.querySelectorAll('#faults li.partition').length === 1");
    let faults = lab.status()["faults"].clone();
    assert_eq!((&faults[0]["from"], &faults[0]["to"]), (&json!("aws"), &json!("azure")), "{faults}");
    assert!(!reaches(&lab));
    assert!(shown(&mut browser, "did").as_str().is_some_and(|it| it.starts_with("partition aws azure")));
    assert_eq!(browser.eval("document.querySelectorAll('.topology .troubles .partition').length"), json!(2));
    browser.eval("document.getElementById('trouble-other').value = ''; document.getElementById('trouble-one').value = 'gcp'");
    browser.click("#trouble button[value=slow]");
    browser.wait("document.querySelectorAll('#faults li.slow').length === 1");

    // A wrong word is answered, and changes nothing.
    browser.eval("document.getElementById('trouble-one').value = 'azur'");
    browser.click("#trouble button[value=partition]");
    browser.wait("document.getElementById('did').textContent.includes('did you mean `azure`?')");
    assert_eq!(lab.status()["faults"].as_array().map(Vec::len), Some(2));

    pictures(&mut browser);
    accessible(&mut browser);

    // By the keyboard: the button of the first fault heals it.
    browser.eval("document.querySelector('#faults li.partition button').focus()");
    for kind in ["keyDown", "keyUp"] {
        browser.call("Input.dispatchKeyEvent", json!({ "type": kind, "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13 }));
    }
    browser.wait("document.querySelectorAll('#faults li').length === 1");
    assert!(reaches(&lab));

    // A lab that ends is told, and one that comes back is shown.
    assert!(lab.lab(&["down"]).status.success());
    browser.wait("document.getElementById('banner').textContent.startsWith('the lab has ended')");
    assert!(lab.lab(&["up", "--input", "tests/fixtures/restricted.json"]).status.success());
    browser
        .wait("document.title.includes('links') || document.querySelector('[data-volume=worker]') === null");
    browser.wait("document.getElementById('live-state').textContent.includes('the lab is up')");
    // Chromium reports every answer that is an error.
    browser.console.retain(|it| !it.contains("409 (Conflict)"));
    assert_eq!(browser.console, Vec::<String>::new(), "the console has nothing else");
    drop(server);
    browser.wait("document.getElementById('banner').textContent.includes('does not answer')");
}

/// Pictures for people to look at.
fn pictures(browser: &mut Browser) {
    for (name, size, scheme) in [
        ("live-desktop-light.png", (1440, 900), "light"),
        ("live-desktop-dark.png", (1440, 900), "dark"),
        ("live-phone-light.png", (390, 1900), "light"),
        ("live-phone-dark.png", (390, 1900), "dark"),
    ] {
        browser.resize(size.0, size.1);
        browser.prefer(scheme);
        browser.eval("window.scrollTo(0, 0)");
        let wide =
            browser.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(wide, json!(0), "{name}: nothing sticks out at the side");
        browser.keep_picture(&gallery().join(name));
    }
    browser.resize(1440, 900);
    browser.prefer("light");
}

/// An accessibility checker finds nothing, in light and in dark.
fn accessible(browser: &mut Browser) {
    let axe = fetched("node_modules/axe-core/axe.min.js", "accessibility of the live page was not checked");
    let Some(axe) = axe else { return };
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        assert_eq!(browser.violations(&axe), json!([]), "{scheme}");
    }
    browser.prefer("light");
}
