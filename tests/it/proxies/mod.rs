//! Real proxies before the real receiver, with the configuration files that `etc/` has: every answer,
//! the receiver's and the proxy's own, is read at once and obeyed.

mod proxy;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

pub use self::proxy::KINDS;
use self::proxy::{Kind, Proxy, put_in};
use crate::client::sha256;
use crate::here::has;
use crate::lab::{Ended, Lab, noise};
use crate::operator::{doctor, told};
use crate::world::World;

const LARGE_BYTES: usize = 20 << 20;
/// For all answers of one `ship --once`. A proxy lingers a minute, so that an answer which is not
/// heard before the end of its connection takes that long.
const AT_ONCE: Duration = Duration::from_secs(20);

fn large() -> &'static [u8] {
    static LARGE: OnceLock<Vec<u8>> = OnceLock::new();
    LARGE.get_or_init(|| noise(LARGE_BYTES))
}

fn ship(lab: &Lab, proxy: &Proxy) -> Ended {
    let begun = Instant::now();
    let ended = lab.ship_once();
    let took = begun.elapsed();
    assert!(took < AT_ONCE, "{took:?}\n{ended}\n{}", proxy.log());
    ended
}

/// All that the receiver says, for small bodies and large ones.
fn every_answer_of_the_receiver(kind: Kind, is_tls: bool) {
    if !kind.is_here("every_answer_of_the_receiver") {
        return;
    }
    let token = "a-token-of-lab-1";
    let host = format!(
        "[[host]]\nid = \"lab-1\"\ntoken_sha256 = \"{}\"\n",
        sha256(token.as_bytes())
    );
    let bytes_max = LARGE_BYTES + 100_000;
    let world = World::with(&format!("max_episode_bytes = {bytes_max}\n{host}"));
    let proxy = kind.start(is_tls, world.address(), |config| config);
    let token_file = world.dir().join("token");
    fs::write(&token_file, token).unwrap();
    let trusted = format!("{}token_file = {token_file:?}\n", proxy.trusted());
    let lab = Lab::with(&proxy.url(), &trusted);

    let taken = world
        .good()
        .episode("taken")
        .extra(&format!("Authorization: Bearer {token}\r\n"));
    assert_eq!(world.put(&taken).status, 201);
    let head = world.repo.head();
    lab.episode_with("new-small", head, b"small");
    lab.episode_with("new-large", head, large());
    lab.episode_with("taken", head, b"other bytes");
    lab.episode_with("old-small", &world.repo.commits[0], b"small");
    lab.episode_with("old-large", &world.repo.commits[1], large());
    lab.episode_with("too-large", head, &[large(), &large()[..200_000]].concat());

    let ended = ship(&lab, &proxy);
    let context = format!("{kind:?} {is_tls}\n{ended}\n{world}\n{}", proxy.log());
    assert_eq!(ended.code, 3, "{context}");
    assert_eq!(
        lab.names("episodes"),
        ["old-large", "old-small"],
        "{context}"
    );
    for name in ["new-small", "new-large"] {
        assert!(lab.path("shipped").join(name).exists(), "{context}");
    }
    assert_eq!(ended.count("status=201"), 2, "{context}");
    assert_eq!(ended.count("event=held"), 2, "{context}");
    assert_eq!(
        ended.count("git pull origin main"),
        2,
        "what to paste is told\n{context}"
    );
    let status = |name: &str| lab.json(&format!("refused/{name}.why.json"))["status"].clone();
    assert_eq!(status("taken"), 409, "{context}");
    assert_eq!(status("too-large"), 413, "{context}");
    assert_eq!(ended.count("event=receiver_away"), 0, "{context}");
    assert_eq!(ended.count("event=deferred"), 0, "{context}");

    // An answer was lost: the same bytes again.
    for name in ["new-small", "new-large"] {
        let shipped = lab.path("shipped");
        fs::rename(shipped.join(name), lab.path("episodes").join(name)).unwrap();
        fs::remove_file(shipped.join(format!("{name}.receipt.json"))).unwrap();
    }
    let ended = ship(&lab, &proxy);
    assert_eq!(ended.count("status=200"), 2, "{kind:?} {is_tls}\n{ended}");

    // Another host's name.
    let other = Lab::of_host("lab-2", &proxy.url(), &trusted);
    other.episode_with("ep-1", head, large());
    let ended = ship(&other, &proxy);
    assert_eq!(ended.code, 1, "{ended}");
    assert_eq!(ended.count("event=not_let_in status=403"), 1, "{ended}");
    assert_eq!(other.names("episodes"), ["ep-1"]);
}

#[test]
fn nginx_every_answer_of_the_receiver() {
    every_answer_of_the_receiver(Kind::Nginx, false);
}

#[test]
fn nginx_every_answer_of_the_receiver_by_https() {
    every_answer_of_the_receiver(Kind::Nginx, true);
}

#[test]
fn buffering_nginx_every_answer_of_the_receiver() {
    every_answer_of_the_receiver(Kind::NginxBuffering, false);
}

#[test]
fn buffering_nginx_every_answer_of_the_receiver_by_https() {
    every_answer_of_the_receiver(Kind::NginxBuffering, true);
}

#[test]
fn caddy_every_answer_of_the_receiver() {
    every_answer_of_the_receiver(Kind::Caddy, false);
}

#[test]
fn caddy_every_answer_of_the_receiver_by_https() {
    every_answer_of_the_receiver(Kind::Caddy, true);
}

#[test]
fn haproxy_every_answer_of_the_receiver() {
    every_answer_of_the_receiver(Kind::Haproxy, false);
}

#[test]
fn haproxy_every_answer_of_the_receiver_by_https() {
    every_answer_of_the_receiver(Kind::Haproxy, true);
}

/// What a proxy says of itself: its status, and what the log has of it.
#[derive(Clone, Copy, Debug)]
enum Own {
    TooLarge,
    Forbidden,
    Busy,
    /// Nobody listens behind it.
    Down,
    /// Who listens there says nothing.
    Silent,
}

impl Own {
    fn status(self, kind: Kind) -> u16 {
        match (self, kind) {
            (Own::TooLarge, _) => 413,
            (Own::Forbidden, _) => 403,
            (Own::Busy, _) | (Own::Down, Kind::Haproxy) => 503,
            (Own::Down, _) => 502,
            (Own::Silent, _) => 504,
        }
    }

    /// The example, made to say so.
    fn configured(self, kind: Kind, config: &str) -> String {
        match (kind, self) {
            (Kind::Nginx | Kind::NginxBuffering, Own::TooLarge) => put_in(
                config,
                "client_max_body_size 0;",
                "client_max_body_size 100;",
            ),
            (Kind::Nginx | Kind::NginxBuffering, Own::Forbidden) => {
                put_in(config, "location / {", "location / {\ndeny all;")
            }
            (Kind::Nginx | Kind::NginxBuffering, Own::Busy) => {
                put_in(config, "location / {", "location / {\nreturn 503;")
            }
            (Kind::Nginx | Kind::NginxBuffering, Own::Silent) => put_in(
                config,
                "proxy_read_timeout 300s",
                "proxy_read_timeout 300ms",
            ),
            // Its request_body limit becomes a 502 where a body is carried on (2.6).
            (Kind::Caddy, Own::TooLarge | Own::Forbidden | Own::Busy) => {
                let respond = format!("\trespond {}\n\treverse_proxy", self.status(kind));
                put_in(config, "\treverse_proxy", &respond)
            }
            (Kind::Caddy, Own::Silent) => put_in(
                config,
                "response_header_timeout 300s",
                "response_header_timeout 300ms",
            ),
            (Kind::Haproxy, Own::Silent) => {
                put_in(config, "timeout server 300s", "timeout server 300ms")
            }
            (Kind::Haproxy, Own::TooLarge | Own::Forbidden | Own::Busy) => {
                let status = self.status(kind);
                let deny = format!("http-request deny deny_status {status}\n    default_backend");
                put_in(config, "default_backend", &deny)
            }
            (_, Own::Down) => config.to_owned(),
        }
    }
}

/// Somebody who takes all that comes and says nothing.
fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &stream, &mut std::io::sink()));
        }
    });
    address
}

/// An address that nobody has while the guard lives: bound, and not listened on.
fn nobody() -> (SocketAddr, socket2::Socket) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// What the proxy itself says is read at once, told in words, and moves no episode.
fn every_answer_of_its_own(kind: Kind, is_tls: bool, body: &[u8]) {
    if !kind.is_here("every_answer_of_its_own") {
        return;
    }
    let (down, _guard) = nobody();
    let silent = silent();
    let owns = [
        Own::TooLarge,
        Own::Forbidden,
        Own::Busy,
        Own::Down,
        Own::Silent,
    ];
    let check = |own: Own| {
        let behind = if let Own::Silent = own { silent } else { down };
        let proxy = kind.start(is_tls, behind, |config| own.configured(kind, &config));
        let lab = Lab::with(&proxy.url(), &proxy.trusted());
        lab.episode_with("ep-1", &"a".repeat(40), body);
        let ended = ship(&lab, &proxy);
        let status = own.status(kind);
        let context = format!("{kind:?} {own:?} {is_tls}\n{ended}\n{}", proxy.log());
        assert_eq!(ended.code, 1, "{context}");
        let words = format!("{status} and not in the receiver's words");
        assert!(ended.log.contains(&words), "{words}: {context}");
        let loud = match own {
            Own::TooLarge => "ERROR event=too_large_for_proxy",
            Own::Forbidden => "ERROR event=not_let_in",
            _ => "WARN event=receiver_away",
        };
        assert_eq!(ended.count(loud), 1, "{loud}: {context}");
        assert_eq!(lab.names("episodes"), ["ep-1"], "{context}");
        assert_eq!(lab.names("refused"), [""; 0], "{context}");
    };
    thread::scope(|scope| {
        let checks = owns.map(|own| scope.spawn(move || check(own)));
        for check in checks {
            check.join().unwrap();
        }
    });
}

/// All kinds at once: they wait more than they work.
fn every_kind(is_tls: bool) {
    thread::scope(|scope| {
        let kinds =
            KINDS.map(|kind| scope.spawn(move || every_answer_of_its_own(kind, is_tls, SMALL)));
        for kind in kinds {
            kind.join().unwrap();
        }
    });
}

const SMALL: &[u8] = b"small, and more than a hundred bytes once packed";

#[test]
fn every_proxy_is_heard_when_it_answers_itself() {
    every_kind(false);
}

#[test]
fn every_proxy_is_heard_when_it_answers_itself_by_https() {
    every_kind(true);
}

#[test]
fn every_proxy_is_heard_when_it_answers_itself_to_a_large_body() {
    // One after the other, for the room that their copies take.
    for kind in KINDS {
        every_answer_of_its_own(kind, false, large());
    }
}

#[test]
fn every_proxy_is_heard_when_it_answers_itself_to_a_large_body_by_https() {
    for kind in KINDS {
        every_answer_of_its_own(kind, true, large());
    }
}

/// A header that is lost on the way once emptied the whole queue into refused/.
#[test]
fn a_proxy_that_loses_a_header_sets_nothing_aside() {
    if !Kind::Nginx.is_here("a_proxy_that_loses_a_header_sets_nothing_aside") {
        return;
    }
    let world = World::new();
    for (header, reason) in [
        ("X-Cis490-Sha256", "bad-head"),
        ("X-Cis490-Code-Commit", "bad-commit"),
    ] {
        let proxy = Kind::Nginx.start(false, world.address(), |config| {
            let line = format!("location / {{\nproxy_set_header {header} \"\";");
            put_in(&config, "location / {", &line)
        });
        let lab = Lab::new(&proxy.url());
        for n in 0..10 {
            lab.episode(&format!("ep-{n}"), world.repo.head());
        }
        let ended = ship(&lab, &proxy);
        assert_eq!(ended.code, 1, "{ended}\n{world}");
        assert_eq!(lab.names("episodes").len(), 10, "{lab}");
        assert_eq!(lab.names("refused"), [""; 0]);
        assert_eq!(ended.count("ERROR event=garbled"), 3, "{ended}");
        let refused = format!("reason={reason}");
        assert_eq!(world.log().matches(&refused).count(), 3, "{world}");
    }
    // The answer to an upload without a commit has the lines to paste.
    let answer = world.put(&world.good().no_commit());
    assert!(answer.json()["remediation"].as_str().is_some());
}

/// What Chromium sends for a page, and more than may be left for a proxy to add to.
const CHROMIUM: [&str; 17] = [
    "Connection: keep-alive",
    "Cache-Control: max-age=0",
    "sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"",
    "sec-ch-ua-mobile: ?0",
    "sec-ch-ua-platform: \"Linux\"",
    "DNT: 1",
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-User: ?1",
    "Sec-Fetch-Dest: document",
    "Referer: https://pi.lan/",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.9",
    "Cookie: other=1",
];

#[test]
fn a_browsers_headers_pass_every_proxy() {
    if !has("a_browsers_headers_pass_every_proxy", "curl") {
        return;
    }
    let world = World::new();
    for (kind, is_tls) in KINDS
        .into_iter()
        .flat_map(|kind| [(kind, false), (kind, true)])
    {
        if !kind.is_here("a_browsers_headers_pass_every_proxy") {
            continue;
        }
        let proxy = kind.start(is_tls, world.address(), |config| config);
        let mut curl = Command::new("curl");
        curl.args(["-q", "-s", "--noproxy", "*", "--max-time", "20"])
            .args(["-o", "/dev/null", "-w", "%{http_code} %{content_type}"])
            .args(CHROMIUM.iter().flat_map(|line| ["-H", line]));
        if let Some(file) = proxy.ca_file() {
            curl.arg("--cacert").arg(file);
        }
        let output = curl.arg(proxy.url() + "/").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            said,
            "200 text/html; charset=utf-8",
            "{kind:?} {is_tls}\n{}\n{world}",
            proxy.log()
        );
    }
}

#[test]
fn doctor_finds_the_way_through_every_proxy() {
    let world = World::new();
    for kind in KINDS {
        if !kind.is_here("doctor_finds_the_way_through_every_proxy") {
            continue;
        }
        let proxy = kind.start(true, world.address(), |config| config);
        let lab = Lab::with(&proxy.url(), &proxy.trusted());
        let config = lab.config().display().to_string();
        let (_, report) = doctor(&config, &["--repo", world.repo.dir.to_str().unwrap()]);
        let path = told(&report, "path", "ok", "");
        assert!(path.contains("256 KiB sent in"), "{kind:?} {path}");
        let token = told(&report, "token", "ok", "");
        assert_eq!(token, "lab-1 is let in without a token", "{kind:?}");
    }
    assert!(!world.log().contains("WARN event=refused"), "{world}");
}

/// A proxy that nobody stopped would keep its port: this one is gone with its test.
#[test]
fn a_proxy_ends_with_its_test() {
    if !Kind::Haproxy.is_here("a_proxy_ends_with_its_test") {
        return;
    }
    let (down, _guard) = nobody();
    let proxy = Kind::Haproxy.start(false, down, |config| config);
    let address = proxy.address;
    drop(proxy);
    assert!(TcpStream::connect(address).is_err());
}
