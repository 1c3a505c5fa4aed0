//! A real headless Chromium, spoken to over its debugging pipe: JSON objects, each ended by a NUL.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::here::{TempDir, find, mkfifo};

/// Chromium on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// What it is called where it is installed (Debian: chromium-headless-shell, chromium).
const PROGRAMS: [&str; 4] = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];

/// Without these it asks its maker's servers for this and that.
const FLAGS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --hide-scrollbars";

/// The program, or a word that `test` is skipped for want of it.
pub fn program_for(test: &str) -> Option<PathBuf> {
    let found = PROGRAMS.iter().find_map(|name| find(name));
    if found.is_none() {
        skip!("{test}: there is no chromium (Debian: chromium-headless-shell)");
    }
    found
}

pub struct Browser {
    process: Child,
    commands: File,
    answers: Receiver<Value>,
    /// All that it told by itself so far.
    events: Vec<Value>,
    session: Option<String>,
    last_id: u64,
    // Its profile and the pipes.
    _dir: TempDir,
}

impl Browser {
    /// With one empty page.
    pub fn start(program: &Path) -> Browser {
        let dir = TempDir::new();
        let [commands, answers] = ["commands", "answers"].map(|name| dir.path().join(name));
        for pipe in [&commands, &answers] {
            mkfifo(pipe);
        }
        let profile = dir.path().join("profile");
        let script = format!(
            "exec {program:?} {FLAGS} --user-data-dir={profile:?} --remote-debugging-pipe about:blank 3<{commands:?} 4>{answers:?}"
        );
        let process = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // In the order in which the shell opens them: each waits for its other end.
        let commands = File::options().write(true).open(commands).unwrap();
        let answers = File::open(answers).unwrap();
        let mut browser = Browser {
            process,
            commands,
            answers: listen(answers),
            events: Vec::new(),
            session: None,
            last_id: 0,
            _dir: dir,
        };
        let page = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let page = json!({"targetId": page["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", page);
        browser.session = Some(attached["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network", "DOM"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method of the protocol; its result.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn ask(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self
                .next(until)
                .unwrap_or_else(|| panic!("{method}: no answer"));
            if answer["id"] == json!(self.last_id) {
                let error = &answer["error"];
                return match error.is_null() {
                    true => Ok(answer["result"].clone()),
                    false => Err(error.clone()),
                };
            }
            self.events.push(answer);
        }
    }

    fn next(&mut self, until: Instant) -> Option<Value> {
        let left = until.saturating_duration_since(Instant::now());
        self.answers.recv_timeout(left).ok()
    }

    /// A screen of this width, in light or dark.
    pub fn look_with(&mut self, width: u32, dark: bool) {
        let screen =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", screen);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    pub fn allow_scripts(&mut self, allowed: bool) {
        let disabled = json!({"value": !allowed});
        self.call("Emulation.setScriptExecutionDisabled", disabled);
    }

    /// Opens a page, and waits until it is loaded.
    pub fn open(&mut self, url: &str) {
        self.events.clear();
        self.call("Page.navigate", json!({"url": url}));
        let until = Instant::now() + PATIENCE;
        while !self.has_heard("Page.loadEventFired") {
            let event = self
                .next(until)
                .unwrap_or_else(|| panic!("{url} does not load"));
            self.events.push(event);
        }
    }

    fn has_heard(&self, method: &str) -> bool {
        self.events.iter().any(|event| event["method"] == method)
    }

    /// One click of the left button, at this place of the page, which is brought into view.
    pub fn click(&mut self, x: f64, y: f64) {
        self.evaluate(&format!("scrollTo(0, {y} - 300)"));
        let y = y - self.evaluate("scrollY").as_f64().unwrap();
        for event in ["mousePressed", "mouseReleased"] {
            let click = json!({"type": event, "x": x, "y": y, "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", click);
        }
    }

    /// What a script on the page would see.
    pub fn evaluate(&mut self, script: &str) -> Value {
        let asked = json!({"expression": script, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{script}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The document as it is now, also where no script may run.
    pub fn document(&mut self) -> String {
        loop {
            let root = self.call("DOM.getDocument", json!({"depth": 0}));
            let node = json!({"nodeId": root["root"]["nodeId"]});
            // An error is a document that was replaced in this instant.
            if let Ok(html) = self.ask("DOM.getOuterHTML", node) {
                return html["outerHTML"].as_str().unwrap().to_owned();
            }
        }
    }

    /// A picture of the whole page, as a PNG file.
    pub fn picture(&mut self, file: &Path) {
        let asked = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", asked);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, from_base64(picture["data"].as_str().unwrap())).unwrap();
    }

    /// Everything that went wrong since the page was opened, as the console would show it.
    pub fn complaints(&self) -> Vec<String> {
        let is_one = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Network.loadingFailed") => true,
            Some("Log.entryAdded") => {
                matches!(
                    event["params"]["entry"]["level"].as_str(),
                    Some("error" | "warning")
                )
            }
            Some("Runtime.consoleAPICalled") => true,
            _ => false,
        };
        self.events
            .iter()
            .filter(is_one)
            .map(Value::to_string)
            .collect()
    }

    /// What was asked of any server since the page was opened.
    pub fn requests(&self) -> Vec<String> {
        let sent = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent");
        let urls = sent.filter_map(|event| event["params"]["request"]["url"].as_str());
        urls.filter(|url| !url.starts_with("data:"))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn listen(answers: File) -> Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut answers = BufReader::new(answers);
        loop {
            let mut text = Vec::new();
            match answers.read_until(0, &mut text) {
                Ok(1..) => {}
                _ => return,
            }
            text.pop();
            let message = serde_json::from_slice(&text).expect("the browser speaks JSON");
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

fn from_base64(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for character in text.bytes().filter(|&character| character != b'=') {
        let digit = digits.iter().position(|&known| known == character).unwrap();
        bits = bits << 6 | digit as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}
