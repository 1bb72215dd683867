//! A headless Chromium, driven by its DevTools protocol over a pair of pipes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: String,
    made: u64,
    /// What the page wrote on its console, and what the browser reported about it.
    pub console: Vec<String>,
    directory: TempDir,
}

impl Browser {
    /// A browser with an empty page, in a window of this size.
    pub fn new((width, height): (u32, u32)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let pipes = ["in", "out"].map(|name| directory.path().join(name));
        for pipe in &pipes {
            assert!(Command::new("mkfifo").arg(pipe).status().expect("mkfifo").success());
        }
        let child = Command::new("sh")
            .args(["-c", "in=$1 out=$2; shift 2; exec chromium \"$@\" 3<\"$in\" 4>\"$out\"", "sh"])
            .args(&pipes)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--remote-debugging-pipe",
                "--hide-scrollbars",
            ])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let to = File::options().write(true).open(&pipes[0]).expect("a pipe");
        let from = BufReader::new(File::open(&pipes[1]).expect("a pipe"));
        let mut browser =
            Self { child, to, from, session: String::new(), made: 0, console: Vec::new(), directory };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        attached["sessionId"].as_str().expect("a session").clone_into(&mut browser.session);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.call(domain, json!({}));
        }
        browser.resize(width, height);
        browser
    }

    /// Goes to an address; forgets what was told on the console.
    pub fn go(&mut self, url: &str) {
        self.console.clear();
        self.call("Page.navigate", json!({ "url": url }));
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// Shows a page that is in no file yet, at a fragment of it.
    pub fn show(&mut self, page: &str, fragment: &str) {
        let file = self.directory.path().join(format!("page-{}.html", self.made));
        std::fs::write(&file, page).expect("a page");
        self.go(&format!("file://{}{fragment}", file.display()));
    }

    /// The page as it is now.
    pub fn markup(&mut self) -> String {
        self.eval("document.documentElement.outerHTML").as_str().expect("markup").to_owned()
    }

    /// Calls a method, and returns its result.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.made += 1;
        let id = self.made;
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser reads");
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).expect("the browser writes");
            assert_eq!(bytes.pop(), Some(0), "the browser has ended");
            let message: Value = serde_json::from_slice(&bytes).expect("JSON");
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            let told = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
            if told.iter().any(|told| message["method"] == *told) {
                self.console.push(message["params"].to_string());
            }
        }
    }

    /// The value of an expression in the page, awaited if it is a promise.
    pub fn eval(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn wait(&mut self, expression: &str) {
        let ends = Instant::now() + Duration::from_secs(30);
        while self.eval(expression) != true {
            assert!(Instant::now() < ends, "never: {expression}\n{:#?}", self.console);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Clicks the middle of an element, as a mouse does.
    #[cfg(all(feature = "lab", target_os = "linux"))]
    pub fn click(&mut self, selector: &str) {
        let find = format!(
            "(() => {{ const it = document.querySelector({selector:?}); it.scrollIntoView({{ block: 'center' }}); \
             const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let at = self.eval(&find);
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// Types into the focused element.
    #[cfg(all(feature = "lab", target_os = "linux"))]
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    pub fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    /// Prefers a dark or a light page.
    pub fn prefer(&mut self, scheme: &str) {
        let feature = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", feature);
    }

    /// What is seen, as a PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let taken = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        BASE64_STANDARD.decode(taken["data"].as_str().expect("a picture")).expect("base64")
    }

    /// Puts what is seen into a file, for people to look at.
    pub fn keep_picture(&mut self, file: &Path) {
        let picture = self.picture();
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 10_000, "{}", file.display());
        std::fs::write(file, picture).expect("a picture");
    }

    /// What an accessibility checker, whose script is `axe`, finds in the page as it is now.
    pub fn violations(&mut self, axe: &str) -> Value {
        self.eval(&format!("{axe}; true"));
        self.eval(
            "axe.run().then((it) => it.violations.map((it) => [it.impact, it.id, it.nodes.map((node) => node.html)]))",
        )
    }

    /// What a printer gets, as a PDF.
    pub fn print(&mut self) -> Vec<u8> {
        let printed = self.call("Page.printToPDF", json!({}));
        BASE64_STANDARD.decode(printed["data"].as_str().expect("a print")).expect("base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
