//! Other senders than ours: the example of the README with curl, and proxies in front.

use std::process::Command;

use super::{Episode, MIB, world};
use crate::here::has;

/// The lines of the README, with this receiver's address and the episode's commit in their first line.
#[test]
fn the_readmes_example_with_curl_brings_the_rest() {
    if !has("the_readmes_example_with_curl_brings_the_rest", "curl") {
        return;
    }
    let world = world("");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB + 9), Some(3 * MIB));
    let readme = include_str!("../../../README.md");
    let begin = readme.find("url=http://PI:8490 name=").unwrap();
    let example = readme[begin..].split("```").next().unwrap();
    let address = world.address().to_string();
    let script = example
        .replace("PI:8490", &address)
        .replace("COMMIT", &episode.commit);
    let dir = world.dir().join("by-hand");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("ep-1.tar.zst"), &episode.body).unwrap();
    let ran = Command::new("sh")
        .args(["-ec", &script])
        .current_dir(&dir)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}\n{errors}\n{world}");
    assert!(told.contains("\"seq\":1"), "{told}\n{errors}\n{world}");
    let resumed = format!(
        "event=upload_resumed host=lab-1 episode=ep-1 offset={}",
        3 * MIB
    );
    assert!(world.log().contains(&resumed), "{world}");
    episode.check_stored(&world);
}

/// HEAD and PATCH pass the proxies as etc/ has them, with all that they carry.
#[cfg(feature = "tls")]
#[test]
fn every_proxy_lets_an_upload_go_on() {
    use crate::client::Client;
    use crate::proxies::KINDS;

    let world = world("");
    for (n, kind) in KINDS.into_iter().enumerate() {
        if !kind.is_here("every_proxy_lets_an_upload_go_on") {
            continue;
        }
        let proxy = kind.start(false, world.address(), |config| config);
        let mut episode = Episode::new(&world, &format!("ep-{n}"));
        // As many headers as a lab host sends.
        episode.extra = "Authorization: Bearer a\r\nX-Cis490-Code-Dirty: true\r\nUser-Agent: a\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n".to_owned();
        assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB));
        let host = format!("Host: {}", proxy.address);
        let ask = |method: &str, head: String, body: &[u8]| {
            let mut client = Client::connect(proxy.address);
            let head = head.replace("Host: pi", &host);
            client.send(head.as_bytes()).unwrap();
            let _ = client.send(body);
            let answer = client.answer_to(method);
            answer.unwrap_or_else(|| panic!("{kind:?}: no answer\n{}\n{world}", proxy.log()))
        };
        let head = format!(
            "HEAD /v1/uploads/lab-1/ep-{n} HTTP/1.1\r\nHost: pi\r\nX-Cis490-Sha256: {}\r\n{}\r\n",
            episode.sha256, episode.extra
        );
        let told = ask("HEAD", head, b"");
        assert_eq!(told.status, 204, "{kind:?} {told:?}\n{world}");
        let offset = told.header("Upload-Offset");
        assert_eq!(offset, Some("3145728"), "{kind:?} {told:?}");
        let wrong = ask("PATCH", episode.patch_head(MIB), &episode.body[MIB..]);
        assert_eq!(wrong.status, 409, "{kind:?} {wrong:?}\n{world}");
        let offset = wrong.header("Upload-Offset");
        assert_eq!(offset, Some("3145728"), "{kind:?} {wrong:?}");
        let rest = &episode.body[3 * MIB..];
        let answer = ask("PATCH", episode.patch_head(3 * MIB), rest);
        assert_eq!(answer.status, 201, "{kind:?} {answer:?}\n{world}");
        episode.check_stored(&world);
    }
}
