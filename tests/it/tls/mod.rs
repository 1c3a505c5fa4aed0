//! HTTPS out, against a real TLS server with a certificate authority of the test's own: to the
//! receiver and to Forgejo.

pub mod authority;
pub mod front;

use std::fs;
use std::net::SocketAddr;

use crate::client::sha256;
use crate::forgejo::Forgejo;
use crate::lab::{Lab, noise};
use crate::operator::{doctor, told};
use crate::program::cis490;
use crate::ship::stub::{Reply, Stub, problem};
use crate::world::{TempDir, World};
use authority::{Authority, Shows};

const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// Every way in which a certificate is not good, what the log says of it, and what to do. A good one is
/// of a CA that its client does not trust.
const REFUSED: [(Shows, &str, &str, &str); 5] = [
    (
        Shows::Expired,
        "certificate-expired",
        "the certificate has expired at 2021-02-03T00:00:00Z, and this machine's clock says 20",
        "renew the server's certificate, unless the clock is wrong (timedatectl)",
    ),
    (
        Shows::NotYetValid,
        "certificate-not-yet-valid",
        "the certificate is valid from 2089-02-03T00:00:00Z on, and this machine's clock says 20",
        "set the clock, which a Pi has to learn from the network after each start (timedatectl)",
    ),
    (
        Shows::AnotherName,
        "certificate-of-another",
        "the certificate is for another name",
        "use a name that the certificate has",
    ),
    (
        Shows::TheAuthority,
        "certificate-of-a-ca",
        "the server shows a CA's own certificate",
        "make a certificate for the server",
    ),
    (
        Shows::Good,
        "certificate-unknown-ca",
        "the certificate is not signed by any CA that is trusted here",
        "name the CA's certificate in ca_file",
    ),
];

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// A lab host that trusts this authority and no other.
fn lab(url: &str, authority: &Authority) -> (Lab, TempDir) {
    let dir = TempDir::new();
    let config = format!("ca_file = {:?}", authority.write(dir.path()));
    (Lab::with(url, &config), dir)
}

#[test]
fn an_episode_travels_by_https_to_a_name_and_to_an_address() {
    let world = World::new();
    let authority = Authority::new("lab CA");
    let port = front::serve(authority.server(Shows::Good), world.address());
    for (host, id) in [("127.0.0.1", "ep-1"), ("localhost", "ep-2")] {
        let (lab, _ca) = lab(&format!("https://{host}:{port}"), &authority);
        lab.episode_with(id, world.repo.head(), &noise(3 << 20));
        let ended = lab.ship_once();
        assert_eq!(ended.code, 0, "{ended}\n{lab}\n{world}");
        lab.assert_all_shipped(&[id]);
        assert!(world.stored("lab-1", id).is_some(), "{world}");
        let check = lab.run(&["check", "--repo", world.repo.dir.to_str().unwrap()], &[]);
        assert_eq!(check.code, 0, "{check}");
    }
}

#[test]
fn the_list_is_read_by_https_and_its_token_goes_to_nobody_else() {
    let reader = format!(
        "[[reader]]\nid = \"r\"\ntoken_sha256 = \"{}\"\n",
        sha256(b"sesame")
    );
    let world = World::with(&reader);
    assert_eq!(world.put(&world.good()).status, 201);
    let authority = Authority::new("lab CA");
    let port = front::serve(authority.server(Shows::Good), world.address());
    let dir = TempDir::new();
    let ca = authority.write(dir.path()).display().to_string();
    let token = dir.path().join("token");
    fs::write(&token, "sesame\n").unwrap();
    let list = |ca: &str| {
        let url = format!("https://127.0.0.1:{port}");
        let token = token.to_str().unwrap();
        let args = [
            "list",
            "--url",
            &url,
            "--token-file",
            token,
            "--ca-file",
            ca,
        ];
        cis490().args(args).output().unwrap()
    };
    let listed = list(&ca);
    let text = String::from_utf8_lossy(&listed.stdout);
    assert!(text.contains("lab-1/ep-1"), "{listed:?}\n{world}");
    let other = Authority::new("another CA");
    let folder = TempDir::new();
    let untrusted = list(&other.write(folder.path()).display().to_string());
    assert_eq!(untrusted.status.code(), Some(1), "{untrusted:?}");
    let words = String::from_utf8_lossy(&untrusted.stderr);
    assert!(
        words.contains("is not signed by any CA that is trusted here"),
        "{words}"
    );
    assert!(untrusted.stdout.is_empty());
}

#[test]
fn a_pull_comes_by_https_with_its_token() {
    let reader = format!(
        "[[reader]]\nid = \"r\"\ntoken_sha256 = \"{}\"\n",
        sha256(b"sesame")
    );
    let world = World::with(&reader);
    let put = world.good();
    assert_eq!(world.put(&put).status, 201);
    let authority = Authority::new("lab CA");
    let port = front::serve(authority.server(Shows::Good), world.address());
    let dir = TempDir::new();
    let ca = authority.write(dir.path());
    let token = dir.path().join("token");
    let pull = |url: &str, to: &str, words: &str| {
        fs::write(&token, words).unwrap();
        let mut command = cis490();
        command.args(["pull", "--url", url, "--token-file"]);
        command.arg(&token).arg("--ca-file").arg(&ca);
        command
            .arg("--to")
            .arg(dir.path().join(to))
            .output()
            .unwrap()
    };
    let url = format!("https://127.0.0.1:{port}");
    let pulled = pull(&url, "data", "sesame\n");
    assert!(pulled.status.success(), "{pulled:?}\n{world}");
    let file = dir.path().join("data/lab-1/ep-1.tar.zst");
    assert_eq!(fs::read(file).unwrap(), put.body);
    // The proof of who the reader is, and who the receiver is, is asked for each time.
    let wrong = pull(&url, "wrong", "open\n");
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let words = String::from_utf8_lossy(&wrong.stderr);
    assert!(words.contains("401"), "{words}");
    let stranger = Authority::new("another CA");
    let port = front::serve(stranger.server(Shows::Good), world.address());
    let mut command = cis490();
    command.args([
        "pull",
        "--url",
        &format!("https://127.0.0.1:{port}"),
        "--ca-file",
    ]);
    command.arg(&ca).arg("--to").arg(dir.path().join("strange"));
    // It ends at once: no wait makes a stranger's certificate a good one.
    let strange = command.output().unwrap();
    assert_eq!(strange.status.code(), Some(1), "{strange:?}");
    let words = String::from_utf8_lossy(&strange.stderr);
    assert!(words.contains("is not signed by any CA"), "{words}");
    assert!(!dir.path().join("strange/index.jsonl").exists());
}

#[test]
fn doctor_tries_the_way_and_the_token_by_https() {
    let token = "a-token-of-lab-1";
    let world = World::with(&format!(
        "[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"{}\"\n",
        sha256(token.as_bytes())
    ));
    let authority = Authority::new("lab CA");
    let port = front::serve(authority.server(Shows::Good), world.address());
    let dir = TempDir::new();
    let file = dir.path().join("token");
    let lab = Lab::with(
        &format!("https://localhost:{port}"),
        &format!(
            "ca_file = {:?}\ntoken_file = {file:?}",
            authority.write(dir.path())
        ),
    );
    let config = lab.config().display().to_string();
    let repo = world.repo.dir.display().to_string();
    for (token, code, verdict) in [(token, 0, "ok"), ("another", 3, "fail")] {
        fs::write(&file, token).unwrap();
        let (ended, report) = doctor(&config, &["--repo", &repo]);
        assert_eq!(ended, code, "{report:#}");
        let path = told(&report, "path", "ok", "");
        assert!(path.contains("KiB sent in"), "{path}");
        told(&report, "token", verdict, "");
    }
    assert_eq!(world.names("episodes"), [""; 0]);
}

#[test]
fn an_episode_stays_while_the_receivers_certificate_is_not_good() {
    let stub = Stub::new([Reply::Store]);
    let authority = Authority::new("lab CA");
    for (shows, _, what, remedy) in REFUSED {
        let port = front::serve(authority.server(shows), address(&stub.url));
        let another = Authority::new("another CA");
        let trusted = if shows == Shows::Good {
            &another
        } else {
            &authority
        };
        let (lab, _ca) = lab(&format!("https://127.0.0.1:{port}"), trusted);
        lab.episode("ep-1", COMMIT);
        let ended = lab.ship_once();
        assert_eq!(ended.code, 1, "{shows:?} {ended}");
        for words in ["no connection", what, remedy] {
            assert!(ended.log.contains(words), "{words}: {ended}");
        }
        assert_eq!(lab.names("episodes"), ["ep-1"], "{lab}");
    }
    assert_eq!(stub.lines(), [""; 0], "not a byte was said");
}

#[test]
fn a_receiver_that_speaks_no_tls_is_named_as_that() {
    let world = World::new();
    let (lab, _ca) = lab(
        &format!("https://{}", world.address()),
        &Authority::new("lab CA"),
    );
    lab.episode("ep-1", COMMIT);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 1, "{ended}");
    assert_eq!(lab.names("episodes"), ["ep-1"], "{lab}");
    let (no_tls, hint) = ("does not speak TLS", "http:// in place of https://");
    let told = ended.log.contains(no_tls) && ended.log.contains(hint);
    // Or the receiver hangs up at what is no HTTP.
    let hung_up = ended.log.contains("hung up during the TLS handshake");
    assert!(told || hung_up, "{ended}");
    assert!(
        ended.log.contains("a receiver itself speaks only http"),
        "{ended}"
    );
}

/// The answer is whole by its length or its chunks: how the connection ends afterwards is no matter.
#[test]
fn an_answer_before_a_rude_end_of_tls_is_heard_and_half_of_one_is_not() {
    let refusal = problem(412, "not-in-window", "");
    let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
    let chunks = format!(
        "HTTP/1.1 412 No\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    for (reply, is_whole) in [
        (Reply::Say(refusal.clone()), true),
        (Reply::SayAfterBody(refusal.clone()), true),
        (Reply::SayInBody(refusal.clone()), true),
        (Reply::Say(chunks), true),
        (Reply::Say(format!("{head}\r\n\r\n{}", &body[1..])), false),
        // Whether this is all of it cannot be known.
        (Reply::Say(format!("HTTP/1.0 412 No\r\n\r\n{body}")), false),
    ] {
        let stub = Stub::new([reply]);
        let authority = Authority::new("lab CA");
        let port = front::serve_rudely(authority.server(Shows::Good), address(&stub.url));
        let (lab, _ca) = lab(&format!("https://127.0.0.1:{port}"), &authority);
        lab.episode_with("ep-1", COMMIT, &noise(1 << 20));
        let ended = lab.ship_once();
        let (code, held) = if is_whole { (3, 1) } else { (1, 0) };
        assert_eq!(
            (ended.code, ended.count("event=held")),
            (code, held),
            "{ended}"
        );
        assert_eq!(lab.names("episodes"), ["ep-1"], "{lab}");
    }
}

/// The system's own list does not know the test's authority. A machine without a list says so.
#[test]
fn without_a_ca_file_the_system_says_whom_to_trust() {
    let stub = Stub::new([Reply::Store]);
    let port = front::serve(
        Authority::new("lab CA").server(Shows::Good),
        address(&stub.url),
    );
    let lab = Lab::new(&format!("https://127.0.0.1:{port}"));
    lab.episode("ep-1", COMMIT);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 1, "{ended}");
    let refused = ended
        .log
        .contains("not signed by any CA that is trusted here");
    let none = ended.log.contains("this system has no CA certificates");
    assert!(refused || none, "{ended}");
    assert_eq!(stub.lines(), [""; 0]);
}

/// The answer comes sealed and in the middle of the body, after session tickets, which are none.
#[test]
fn a_refusal_in_the_middle_of_a_sealed_body_is_heard() {
    let refusal = problem(412, "commit-not-in-window", "");
    for reply in [
        Reply::SayInBody(refusal.clone()),
        Reply::SayInBodyAndWait(refusal.clone()),
        Reply::Say(refusal.clone()),
        Reply::SayAfterBody(refusal),
    ] {
        let stub = Stub::new([reply]);
        let authority = Authority::new("lab CA");
        let port = front::serve(authority.server(Shows::Good), address(&stub.url));
        let (lab, _ca) = lab(&format!("https://127.0.0.1:{port}"), &authority);
        lab.episode_with("ep-1", COMMIT, &noise(24 << 20));
        let ended = lab.ship_once();
        assert_eq!(ended.code, 3, "{ended}");
        assert!(ended.log.contains("sudo ./install.sh"), "{ended}");
        assert_eq!(lab.names("episodes"), ["ep-1"], "{lab}");
    }
}

#[test]
fn a_new_ca_file_counts_after_a_reload() {
    let stub = Stub::new([Reply::Store]);
    let authority = Authority::new("lab CA");
    let port = front::serve(authority.server(Shows::Good), address(&stub.url));
    let (lab, ca) = lab(
        &format!("https://127.0.0.1:{port}"),
        &Authority::new("another CA"),
    );
    lab.episode("ep-1", COMMIT);
    let shipper = lab.ship();
    shipper.wait_until("the certificate is refused", || {
        shipper
            .log()
            .contains("not signed by any CA that is trusted here")
    });
    authority.write(ca.path());
    shipper.signal("HUP");
    shipper.wait_until("it is shipped", || {
        lab.names("shipped").contains(&"ep-1".to_owned())
    });
}

/// A receiver whose Forgejo is behind this server, with this trust.
fn gated_by(shows: Shows, server: &Authority, trusted: &Authority) -> (World, Forgejo, TempDir) {
    let dir = TempDir::new();
    let repository = dir.path().join("project");
    let repo = crate::world::Repo::new(&repository, 3);
    let forgejo = Forgejo::serve(&repo.dir);
    let port = front::serve(server.server(shows), address(&forgejo.url));
    let ca_file = trusted.write(dir.path());
    let config = format!(
        "[version_gate]\nforgejo_url = \"https://127.0.0.1:{port}\"\nrepo_owner = \"lab\"\nrepo_name = \"cis490\"\nrefresh_seconds = 1\nlocal_repo_path = \"/nonexistent\"\nca_file = {ca_file:?}\n"
    );
    (World::with(&config), forgejo, dir)
}

#[test]
fn the_gate_follows_forgejo_by_https() {
    let authority = Authority::new("lab CA");
    let (world, forgejo, _dir) = gated_by(Shows::Good, &authority, &authority);
    world.wait_until("the gate has its window", |world| {
        let gate = world.get("/v1/gate").json();
        gate["loaded"] == true && gate["source"] == "forgejo"
    });
    assert!(!forgejo.requests().is_empty());
}

#[test]
fn the_gate_says_why_forgejos_certificate_is_not_good() {
    let authority = Authority::new("lab CA");
    for (shows, kind, what, remedy) in REFUSED {
        let another = Authority::new("another CA");
        let trusted = if shows == Shows::Good {
            &another
        } else {
            &authority
        };
        let (world, forgejo, _dir) = gated_by(shows, &authority, trusted);
        world.wait_until("the log has it", |world| world.log().contains(kind));
        for words in [what, remedy] {
            assert!(world.log().contains(words), "{words}\n{world}");
        }
        assert_eq!(world.get("/v1/health").status, 503, "{world}");
        assert_eq!(forgejo.requests().len(), 0, "{shows:?}");
    }
}

#[test]
fn a_ca_file_that_is_none_is_refused_at_start() {
    let dir = TempDir::new();
    let file = dir.path().join("ca.pem");
    let config = format!("ca_file = {file:?}");
    let lab = Lab::with("https://127.0.0.1:9", &config);
    for (content, words) in [
        (None, "cannot read ca_file"),
        (Some("no PEM at all"), "there is no certificate in it"),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let ended = lab.ship_once();
        assert_eq!(ended.code, 1, "{ended}");
        assert!(ended.log.contains(words), "{ended}");
    }
}
