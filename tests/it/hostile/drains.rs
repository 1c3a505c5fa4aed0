//! Bodies that nobody wants: their senders read the refusal, and none of them is drained for good.

use std::fs;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::here::has;
use crate::world::World;

/// As http.client, urllib and wget do it: they send all of the body before they look for an answer.
/// Once, 64 MiB of it were taken and the connection was cut off.
#[test]
fn a_client_that_sends_all_of_a_huge_body_reads_its_refusal() {
    let world = World::new();
    let mib = 256;
    let length = (mib << 20).to_string();
    let put = world.good().commit(world.too_old()).length(&length);
    let mut client = world.client();
    client.send(&put.head()).unwrap();
    let block = vec![7; 1 << 20];
    for sent in 0..mib {
        let whole = client.send(&block);
        assert!(whole.is_ok(), "cut off after {sent} MiB: {whole:?}");
    }
    assert_eq!(client.answer().unwrap().status, 412);
    assert!(client.is_closed());
}

/// Bytes that are no body, or come too slowly, are drained for a while and no longer. (No body is as
/// fast as the second receiver demands.)
#[test]
fn draining_is_bounded() {
    let block = vec![7; 1 << 20];
    for (config, length) in [
        ("", 5),
        ("min_body_bytes_per_second = 1000000000000\n", 1 << 40),
    ] {
        let world = World::with(config);
        let length = u64::to_string(&length);
        let put = world.good().commit(world.too_old()).length(&length);
        let mut client = world.client();
        client.send(&put.head()).unwrap();
        let sent = (0..1024)
            .take_while(|_| client.send(&block).is_ok())
            .count();
        assert!(
            (32..1024).contains(&sent),
            "{sent} MiB were taken of a body of {length} bytes: {config}"
        );
    }
}

/// However many peers send bodies that nobody wants, few are drained to their end: of one address five,
/// and the others are cut off behind 64 MiB.
#[test]
fn few_bodies_are_drained_to_their_end() {
    let world = World::new();
    let put = world.good().commit(world.too_old()).length("1000000000000");
    let block = vec![7; 1 << 20];
    let all_have_sent = Barrier::new(10);
    let cut_off = thread::scope(|scope| {
        let send = || {
            let mut client = world.client();
            client.send(&put.head()).unwrap();
            let cut_off = (0..80).any(|_| client.send(&block).is_err());
            all_have_sent.wait();
            cut_off
        };
        let peers: Vec<_> = (0..10).map(|_| scope.spawn(send)).collect();
        let ended = peers.into_iter().map(|peer| peer.join().unwrap());
        ended.filter(|cut_off| *cut_off).count()
    });
    // On a slow machine one that has sent all of its part may make room for another.
    assert!((3..=5).contains(&cut_off), "{cut_off} of ten\n{world}");
}

/// A body of 100 MiB, more than is drained of what nobody knows the end of.
#[test]
fn curl_and_python_read_their_refusals() {
    let world = World::new();
    let body = world.dir().join("body");
    let file = fs::File::create(&body).unwrap();
    file.set_len(100 << 20).unwrap();
    let (body, address) = (body.display().to_string(), world.address());
    let url = format!("http://{address}/v1/episodes/lab-1/e");
    let commit = format!("X-Cis490-Code-Commit: {}", world.too_old());
    let digest = format!("X-Cis490-Sha256: {}", "0".repeat(64));
    let format = "%{http_code}";
    let curl = [
        "-s",
        "--noproxy",
        "*",
        "-o",
        "/dev/null",
        "-w",
        format,
        "-T",
        &body,
        "-H",
        &commit,
        "-H",
        &digest,
        &url,
    ];
    let has_curl = has("curl reads its refusal", "curl");
    for extra in [&[][..], &["-H", "Expect:"], &["--http1.0"]] {
        if !has_curl {
            break;
        }
        let output = Command::new("curl")
            .args(curl)
            .args(extra)
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "412",
            "{extra:?} {output:?}"
        );
    }
    let http_client = "import http.client, sys\n\
        c = http.client.HTTPConnection(sys.argv[1])\n\
        c.request('PUT', '/v1/episodes/lab-1/e', open(sys.argv[2], 'rb'), {'X-Cis490-Code-Commit': sys.argv[3], 'X-Cis490-Sha256': '0' * 64, 'Content-Length': str(100 << 20)})\n\
        print(c.getresponse().status)\n";
    let urllib = "import urllib.request, urllib.error, sys\n\
        urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))\n\
        r = urllib.request.Request('http://' + sys.argv[1] + '/v1/episodes/lab-1/e', open(sys.argv[2], 'rb'), {'X-Cis490-Code-Commit': sys.argv[3], 'X-Cis490-Sha256': '0' * 64, 'Content-Length': str(100 << 20)}, method='PUT')\n\
        try: urllib.request.urlopen(r)\n\
        except urllib.error.HTTPError as e: print(e.code)\n";
    for script in [http_client, urllib] {
        let python = Command::new("python3")
            .args(["-c", script, &address.to_string(), &body, world.too_old()])
            .output();
        match python {
            Ok(output) => assert_eq!(
                String::from_utf8_lossy(&output.stdout),
                "412\n",
                "{output:?}"
            ),
            Err(_) => skip!("python reads its refusal: no python3 here"),
        }
    }
}

/// A refused body that is drained to its end would take half an hour.
#[test]
fn a_stop_does_not_wait_for_bodies_that_nobody_wants() {
    let mut world = World::new();
    let put = world.good().commit(world.too_old()).length("1000000000000");
    let mut client = world.client();
    client.send(&put.head()).unwrap();
    let block = vec![7; 1 << 20];
    for _ in 0..70 {
        client.send(&block).unwrap();
    }
    world.signal("TERM");
    assert!(world.ends_within(Duration::from_secs(3)), "{world}");
    assert_eq!(world.wait_for_end(), Some(0), "{world}");
}
