//! What HEAD and PATCH are answered, head by head.

use super::{Episode, MIB, ask, end, kind, least, world};
use crate::client::sha256;

/// Everything that a PATCH may state wrongly; nothing of it ends what is kept.
#[test]
fn each_wrong_patch_has_its_answer_and_leaves_what_is_kept() {
    let world = world("");
    let episode = Episode::new(&world, "ep-1");
    let offset = 3 * MIB;
    assert_eq!(episode.break_at(&world, offset + 5), Some(offset));
    let good = episode.patch_head(offset);
    let rest = episode.body.len() - offset;
    let without = |line: &str| good.replace(line, "");
    let zeros = "0".repeat(64);
    let old = world.too_old().to_owned();
    let cases = [
        (
            "no offset",
            without("Upload-Offset: 3145728\r\n"),
            400,
            "bad-head",
        ),
        (
            "an odd offset",
            episode.patch_head_of("+5", rest),
            400,
            "bad-head",
        ),
        (
            "no end",
            without("Upload-Complete: ?1\r\n"),
            400,
            "bad-head",
        ),
        ("not to the end", good.replace("?1", "?0"), 400, "bad-head"),
        (
            "two offsets",
            good.replace(
                "Upload-Complete",
                "Upload-Offset: 3145728\r\nUpload-Complete",
            ),
            400,
            "bad-head",
        ),
        (
            "another type",
            good.replace("application/partial-upload", "application/zstd"),
            415,
            "not-a-partial-upload",
        ),
        (
            "no type",
            without("Content-Type: application/partial-upload\r\n"),
            415,
            "not-a-partial-upload",
        ),
        (
            "a shorter rest",
            episode.patch_head_of(&offset.to_string(), rest - 1),
            400,
            "bad-head",
        ),
        (
            "too far",
            episode.patch_head_of(&(offset + MIB).to_string(), rest - MIB),
            409,
            "offset-mismatch",
        ),
        (
            "an old offset",
            episode.patch_head_of(&(offset - MIB).to_string(), rest + MIB),
            409,
            "offset-mismatch",
        ),
        (
            "behind the end",
            episode.patch_head_of(&(episode.body.len() + 9).to_string(), 1),
            409,
            "offset-mismatch",
        ),
        (
            "beyond all numbers",
            episode.patch_head_of(&u64::MAX.to_string(), rest),
            400,
            "bad-head",
        ),
        (
            "another digest",
            good.replace(&episode.sha256, &zeros),
            404,
            "nothing-kept",
        ),
        (
            "another name",
            good.replace("ep-1", "ep-2"),
            404,
            "nothing-kept",
        ),
        (
            "an odd name",
            good.replace("lab-1/ep-1", "lab-1/%65"),
            400,
            "bad-name",
        ),
        (
            "too old a commit",
            good.replace(&episode.commit, &old),
            412,
            "not-in-window",
        ),
        (
            "a browser's",
            good.replace("Host: pi", "Host: pi\r\nOrigin: x"),
            403,
            "from-a-browser",
        ),
        (
            "chunks",
            good.replace("Host: pi", "Host: pi\r\nTransfer-Encoding: chunked"),
            501,
            "transfer-encoding",
        ),
    ];
    for (name, head, status, problem) in cases {
        let answer = ask(&world, "PATCH", &head);
        assert_eq!(answer.status, status, "{name}: {answer:?}\n{world}");
        assert_eq!(kind(&answer), problem, "{name}");
        let right = (status == 409).then_some("3145728");
        assert_eq!(answer.header("Upload-Offset"), right, "{name}");
    }
    let lengthless = without(&format!("Content-Length: {rest}\r\n"));
    assert_eq!(ask(&world, "PATCH", &lengthless).status, 411);
    assert_eq!(episode.offset(&world), Some(offset), "{world}");
    assert_eq!(episode.patch(&world, offset).status, 201, "{world}");
    episode.check_stored(&world);
    // The last answer may have been lost.
    assert_eq!(episode.patch(&world, offset).status, 200, "{world}");
    assert_eq!(episode.offset(&world), None);
    // Other bytes of the name.
    let mut other = episode.clone();
    other.sha256 = zeros;
    let answer = ask(&world, "PATCH", &other.patch_head(offset));
    assert_eq!((answer.status, kind(&answer)), (409, "taken".to_owned()));
}

#[test]
fn methods_and_the_digest_of_head() {
    let world = world("");
    let path = "/v1/uploads/lab-1/ep-1";
    for (method, status) in [("GET", 405), ("POST", 405), ("OPTIONS", 204)] {
        let answer = world.ask(method, path);
        assert_eq!(answer.status, status, "{method}");
        assert_eq!(answer.header("Allow"), Some("HEAD, PATCH, OPTIONS"));
    }
    for digest in ["", "X-Cis490-Sha256: abc\r\n"] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: pi\r\n{digest}\r\n");
        assert_eq!(ask(&world, "HEAD", &request).status, 400, "{digest:?}");
    }
    // A sender asks before each large upload: that is no line of the log.
    let request = format!(
        "HEAD {path} HTTP/1.1\r\nHost: pi\r\nX-Cis490-Sha256: {}\r\n\r\n",
        "0".repeat(64)
    );
    assert_eq!(ask(&world, "HEAD", &request).status, 404);
    assert!(!world.log().contains("nothing-kept"), "{world}");
}

/// As a PUT: a host goes on with its own uploads alone, and only with its token.
#[test]
fn a_host_goes_on_with_its_own_uploads_alone() {
    let host = |id: &str| {
        let digest = sha256(format!("token of {id}").as_bytes());
        format!("[[host]]\nid = \"{id}\"\ntoken_sha256 = \"{digest}\"\n")
    };
    let world = world(&format!("{}{}", host("lab-1"), host("lab-2")));
    let mut episode = Episode::new(&world, "ep-1");
    episode.extra = "Authorization: Bearer token of lab-1\r\n".to_owned();
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    for (extra, status) in [
        ("", 401),
        ("Authorization: Bearer nobody's\r\n", 401),
        ("Authorization: Bearer token of lab-2\r\n", 403),
    ] {
        let mut other = episode.clone();
        other.extra = extra.to_owned();
        assert_eq!(other.head(&world).status, status, "{extra}");
        let answer = ask(&world, "PATCH", &other.patch_head(3 * MIB));
        assert_eq!(answer.status, status, "{extra}");
    }
    assert_eq!(episode.offset(&world), Some(3 * MIB), "{world}");
    assert_eq!(episode.patch(&world, 3 * MIB).status, 201, "{world}");
}

#[test]
fn a_patch_that_expects_it_is_asked_for_its_body() {
    let world = world("");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    let head = |offset| {
        let head = episode.patch_head(offset);
        head.replace("Host: pi", "Host: pi\r\nExpect: 100-continue")
    };
    // The answer comes in its place where the body is not wanted.
    let answer = ask(&world, "PATCH", &head(2 * MIB));
    assert_eq!(answer.status, 409, "{answer:?}");
    let mut client = world.client();
    client.send(head(3 * MIB).as_bytes()).unwrap();
    assert_eq!(client.answer().unwrap().status, 100);
    client.send(&episode.body[3 * MIB..]).unwrap();
    assert_eq!(client.answer().unwrap().status, 201, "{world}");
    episode.check_stored(&world);
}

/// The digest of the whole decides: a wrong one ends the upload, and it begins anew.
#[test]
fn other_bytes_in_the_rest_are_refused_and_nothing_is_kept() {
    let world = world("");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    let mut client = world.client();
    client.send(episode.patch_head(3 * MIB).as_bytes()).unwrap();
    let rest = episode.body.len() - 3 * MIB;
    client.send(&vec![7; rest]).unwrap();
    let answer = client.answer().unwrap();
    assert_eq!(
        (answer.status, kind(&answer)),
        (422, "digest-mismatch".to_owned())
    );
    assert_eq!(episode.offset(&world), None, "{world}");
    assert_eq!(episode.put(&world).status, 201, "{world}");
    episode.check_stored(&world);
}

/// The gate has moved on: the commit is held, and nothing of its bytes is lost.
#[test]
fn a_gate_that_moved_meanwhile_refuses_the_rest_and_keeps_the_beginning() {
    let mut world = world("");
    let episode = Episode::new(&world, "ep-1");
    assert_eq!(episode.break_at(&world, 3 * MIB), Some(3 * MIB), "{world}");
    for _ in 0..crate::world::WINDOW {
        world.repo.commit();
    }
    let head = world.repo.head().to_owned();
    world.wait_until("the gate has moved", |world| {
        world.get("/v1/gate").json()["head_commit"] == head.as_str()
    });
    let answer = ask(&world, "PATCH", &episode.patch_head(3 * MIB));
    assert_eq!(
        (answer.status, kind(&answer)),
        (412, "not-in-window".to_owned())
    );
    assert_eq!(episode.offset(&world), Some(3 * MIB), "{world}");
    let mut of_now = episode.clone();
    of_now.commit = head;
    assert_eq!(of_now.patch(&world, 3 * MIB).status, 201, "{world}");
    of_now.check_stored(&world);
}

/// A body that is too small for it is never kept.
#[test]
fn a_small_body_is_not_kept() {
    let world = world("");
    let body = vec![1; least() - 1];
    let episode = Episode::of(&world, "ep-1", &body);
    end(episode.begin(&world, body.len() - 1));
    assert_eq!(episode.offset(&world), None, "{world}");
}
