//! `[notify]`, against a real listener that answers, fails, hangs and says 500, and against a real command. The
//! waits are divided by `CIS490_NOTIFY_HASTE`.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::archive::archive_into;
use crate::archive::store::{Mishap, ScriptedStore};
use crate::world::{World, cis490, is_release_build};

/// A beginning is told after 1.5 s, a kind has a call each 3 s, and a call may take 0.5 s.
const HASTE: u32 = 20;

#[derive(Clone, Copy)]
enum Mood {
    Say(u16),
    Hang,
    /// Closes the connection without an answer.
    Close,
}

/// A request: its head and its body.
type Heard = (String, String);

/// A server that does one thing after the other, and then answers 200.
struct Listener {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Listener {
    fn new(moods: &'static [Mood]) -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        thread::spawn(move || {
            let mut hanging = Vec::new();
            let mut moods = moods.iter();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read(&mut stream);
                all.lock().unwrap().push(request);
                match moods.next().unwrap_or(&Mood::Say(200)) {
                    Mood::Say(status) => {
                        let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n");
                        let _ = stream.write_all(answer.as_bytes());
                    }
                    Mood::Hang => hanging.push(stream),
                    Mood::Close => drop(stream),
                }
            }
        });
        Listener { address, heard }
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    fn wait_for(&self, world: &World, count: usize) -> Vec<Heard> {
        world.wait_until("the listener has heard it", |_| self.heard().len() >= count);
        self.heard()
    }
}

fn read(stream: &mut TcpStream) -> Heard {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_lowercase();
            let length = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return (head.to_owned(), body.to_owned());
            }
        }
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return (text, String::new()),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
        }
    }
}

/// A receiver that tells somebody, with one stored episode.
fn world(notify: &str) -> Option<World> {
    if is_release_build() {
        skip!("a release build has the whole waits of [notify]");
        return None;
    }
    let mut world = World::prepared(&format!("[notify]\n{notify}\n"));
    start(&mut world);
    assert_eq!(world.put(&world.good()).status, 201);
    Some(world)
}

fn start(world: &mut World) {
    world.env("CIS490_NOTIFY_HASTE", HASTE);
    world.start();
}

/// An error begins: lab-1 is refused.
fn begin(world: &World) {
    assert_eq!(world.put(&world.good().body(b"other")).status, 409);
}

/// And ends: another episode of it is stored.
fn end(world: &World, episode: &str) {
    assert_eq!(world.put(&world.good().episode(episode)).status, 201);
}

fn url(listener: &Listener) -> String {
    format!("url = \"http://{}/hook?token=s3cret\"", listener.address)
}

#[test]
fn a_webhook_is_told_once_of_each_beginning_and_end() {
    let listener = Listener::new(&[]);
    let Some(mut world) = world(&url(&listener)) else {
        return;
    };
    begin(&world);
    let heard = listener.wait_for(&world, 1);
    let (head, body) = &heard[0];
    assert!(
        head.starts_with("POST /hook?token=s3cret HTTP/1.1\r\n"),
        "{head}"
    );
    let lower = head.to_lowercase();
    assert!(lower.contains("content-type: application/json"), "{head}");
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["state"], "begins");
    assert!(told["at"].as_str().unwrap().ends_with('Z'), "{told}");
    assert!(told["receiver"].is_string(), "{told}");
    let [finding] = &told["findings"].as_array().unwrap()[..] else {
        panic!("{told}");
    };
    assert_eq!(
        (&finding["kind"], &finding["severity"], &finding["subject"]),
        (
            &"host-refused".into(),
            &"error".into(),
            &"host/lab-1".into()
        )
    );
    let kept = |world: &World| {
        let text = fs::read_to_string(world.data_dir().join("notified.json"));
        text.map_or(0, |text| text.matches("host-refused").count())
    };
    world.wait_until("it is kept", |world| kept(world) == 1);

    // A restart repeats nothing: the next call is the end.
    world.stop();
    start(&mut world);
    world.wait_until("the refusal is read again", |world| {
        world.get("/v1/status").body.contains("host-refused")
    });
    end(&world, "ep-2");
    let heard = listener.wait_for(&world, 2);
    let told: Value = serde_json::from_str(&heard[1].1).unwrap();
    assert_eq!(told["state"], "ends", "{told}");
    assert_eq!(told["findings"][0]["subject"], "host/lab-1");
    world.wait_until("it is kept no more", |world| kept(world) == 0);
    assert_eq!(listener.heard().len(), 2);
    assert!(!world.log().contains("s3cret"), "{world}");
}

#[test]
fn a_listener_that_fails_and_hangs_is_tried_again_and_is_in_nobodys_way() {
    let listener = Listener::new(&[Mood::Say(500), Mood::Hang]);
    let Some(world) = world(&url(&listener)) else {
        return;
    };
    begin(&world);
    listener.wait_for(&world, 2);
    // It hangs now. Uploads and the page do not wait for it.
    let began = Instant::now();
    let put = world.good().path("/v1/episodes/lab-2/ep-1");
    assert_eq!(world.put(&put).status, 201);
    assert_eq!(world.get("/").status, 200);
    assert!(began.elapsed() < Duration::from_secs(5));
    let heard = listener.wait_for(&world, 3);
    for (_, body) in &heard {
        let told: Value = serde_json::from_str(body).unwrap();
        assert_eq!(told["state"], "begins", "{told}");
        assert_eq!(told["findings"][0]["kind"], "host-refused");
    }
    world.wait_until("it is told", |world| {
        world
            .log()
            .contains("event=notified kind=host-refused state=begins findings=1")
    });
    let log = world.log();
    assert!(
        log.contains(
            "event=notify_failed kind=host-refused given_up=false why=\"the answer was 500\""
        ),
        "{log}"
    );
    assert!(log.contains("why=\"no answer in time\""), "{log}");
}

#[test]
fn ntfy_gets_plain_words_with_a_title() {
    let listener = Listener::new(&[Mood::Close]);
    let notify = url(&listener) + "\nformat = \"text\"";
    let Some(world) = world(&notify) else {
        return;
    };
    begin(&world);
    // The first connection is closed without an answer.
    let heard = listener.wait_for(&world, 2);
    let (head, body) = &heard[1];
    let title = head
        .lines()
        .find(|line| line.to_lowercase().starts_with("title: "));
    let title = title.unwrap_or_else(|| panic!("{head}"));
    assert!(title.contains("1 problem begins (host-refused)"), "{title}");
    assert!(body.starts_with("lab-1: 409 taken"), "{body}");
    assert_eq!(
        body.trim_end().lines().count(),
        2,
        "words and remedy: {body}"
    );
}

#[test]
fn a_command_reads_the_json_and_is_run_again_if_it_fails() {
    let dir = crate::world::TempDir::new();
    let script = dir.path().join("tell");
    // It fails once.
    let text = format!(
        "#!/bin/sh\ncd {} || exit 9\necho \"$1\" >> arguments\n[ -e once ] || {{ touch once; exit 3; }}\ncat >> heard\n",
        dir.path().display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let notify = format!("command = [{script:?}, \"a b; $(x)\"]");
    let Some(world) = world(&notify) else {
        return;
    };
    begin(&world);
    let heard = || fs::read_to_string(dir.path().join("heard")).unwrap_or_default();
    world.wait_until("the command has heard it", |_| heard().ends_with('\n'));
    let told: Value = serde_json::from_str(&heard()).unwrap();
    assert_eq!(told["findings"][0]["kind"], "host-refused");
    let arguments = fs::read_to_string(dir.path().join("arguments")).unwrap();
    assert_eq!(arguments, "a b; $(x)\na b; $(x)\n", "no shell reads them");
    world.wait_until("it is logged", |world| {
        world.log().contains("event=notified ")
    });
    assert!(
        world
            .log()
            .contains("why=\"the command ended with exit status: 3\""),
        "{world}"
    );
}

/// A reload names another listener, and the one before hears no more.
#[test]
fn a_reload_changes_who_is_told() {
    let before = Listener::new(&[]);
    let after = Listener::new(&[]);
    let Some(world) = world(&url(&before)) else {
        return;
    };
    let text = fs::read_to_string(world.config_path()).unwrap();
    let text = text.replace(&before.address.to_string(), &after.address.to_string());
    fs::write(world.config_path(), text).unwrap();
    world.signal("HUP");
    world.wait_until("it is reloaded", |world| {
        world
            .log()
            .contains("event=reloaded changed=\"notify.url\"")
    });
    begin(&world);
    after.wait_for(&world, 1);
    assert_eq!(before.heard().len(), 0);
}

/// The archive's errors are reported as a host's are.
#[test]
fn a_bucket_that_cannot_be_used_begins_and_ends() {
    if is_release_build() {
        skip!("a release build has the whole waits of [notify]");
        return;
    }
    let store = ScriptedStore::start();
    let listener = Listener::new(&[]);
    let mut world = World::prepared(&format!("[notify]\n{}\n", url(&listener)));
    archive_into(&mut world, &store, "");
    // A failure of the bucket is a day old at once, which makes it an error.
    world.env("CIS490_ARCHIVE_AGED_MS", 25 * 60 * 60_000);
    store.always("PUT", "", Mishap::Refuses(403, "AccessDenied"));
    start(&mut world);
    assert_eq!(world.put(&world.good()).status, 201);
    let heard = listener.wait_for(&world, 1);
    assert_bucket_is_told(&heard[0].1, "begins");
    store.calm();
    let heard = listener.wait_for(&world, 2);
    assert_bucket_is_told(&heard[1].1, "ends");
}

fn assert_bucket_is_told(body: &str, state: &str) {
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["state"], state, "{told}");
    let findings = told["findings"].as_array().unwrap();
    let named = |kind: &str| findings.iter().find(|finding| finding["kind"] == kind);
    let away = named("archive-away").unwrap_or_else(|| panic!("{told}"));
    assert_eq!(away["severity"], "error", "{told}");
    assert_eq!(away["subject"], "archive", "{told}");
    let words = away["words"].as_str().unwrap();
    assert!(
        words.contains("the store answered 403 AccessDenied"),
        "{told}"
    );
}

#[test]
fn a_mistake_in_notify_is_named_and_no_url_is_shown() {
    for (notify, words) in [
        ("", "url and command"),
        (
            "url = \"http://h/s3cret\"\ncommand = [\"/bin/true\"]",
            "url and command",
        ),
        ("url = \"ftp://h/s3cret\"", "notify.url"),
        ("url = \"http:///s3cret\"", "notify.url"),
        ("command = [\"tell\"]", "notify.command"),
        ("command = []", "notify.command"),
        ("url = \"http://h/\"\nformat = \"xml\"", "format"),
        ("urls = \"http://h/s3cret\"", "urls"),
    ] {
        let world = World::prepared("");
        let config = fs::read_to_string(world.config_path()).unwrap();
        fs::write(
            world.config_path(),
            format!("{config}\n[notify]\n{notify}\n"),
        )
        .unwrap();
        let ended = cis490()
            .args(["status", "--config", &world.config_path()])
            .output()
            .unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(
            !ended.status.success() && said.contains(words),
            "{notify}: {said}"
        );
        assert!(!said.contains("s3cret"), "{said}");
    }
}
