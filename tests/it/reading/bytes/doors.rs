//! Nobody but a reader gets a byte, or hears whether an episode is there.

use super::*;

/// In no answer to anybody who may not read.
const SECRET: &[u8] = b"these bytes are for readers only";

/// Spellings that a careless server takes for the path, and those that it is.
const SPELLINGS: [&str; 24] = [
    PATH,
    "/v1/episodes/lab-1/ep-1.tar.zst?",
    "/v1/episodes/lab-1/ep-1.tar.zst?token=x",
    "http://pi/v1/episodes/lab-1/ep-1.tar.zst",
    "HTTP://PI:80/v1/episodes/lab-1/ep-1.tar.zst",
    "https://pi/v1/episodes/lab-1/ep-1.tar.zst",
    "//v1/episodes/lab-1/ep-1.tar.zst",
    "/v1//episodes/lab-1/ep-1.tar.zst",
    "/v1/episodes//lab-1/ep-1.tar.zst",
    "/v1/episodes/lab-1//ep-1.tar.zst",
    "/v1/episodes/./lab-1/ep-1.tar.zst",
    "/v1/episodes/lab-1/../lab-1/ep-1.tar.zst",
    "/v1/gate/../episodes/lab-1/ep-1.tar.zst",
    "/../episodes/lab-1/ep-1.tar.zst",
    "/episodes/lab-1/ep-1.tar.zst",
    "/v1/episodes/lab-1/ep-1.tar.zst/",
    "/v1/episodes/lab-1/ep-1.tar.zst.",
    "/v1/episodes/lab-1/ep-1.tar.zst%00",
    "/v1/episodes/lab-1/ep-1.tar%2ezst",
    "/v1/episodes/lab-1%2fep-1.tar.zst",
    "/v1/%65pisodes/lab-1/ep-1.tar.zst",
    "/V1/EPISODES/LAB-1/EP-1.TAR.ZST",
    "/v1/episodes/lab-1/ep-1.TAR.ZST",
    "/v1/episodes/lab-1/ep-1.tar.zst;x",
];

fn gets_nothing(world: &World, path: &str, fields: &str) -> u16 {
    let got = ask(world, "GET", path, fields);
    let has_secret = got.body.windows(SECRET.len()).any(|part| part == SECRET);
    assert!(
        !has_secret && got.header("ETag").is_none(),
        "{path} {fields}"
    );
    assert!(got.status >= 400, "{path} {fields}: {}", got.status);
    let head = ask(world, "HEAD", path, fields);
    assert_eq!(head.status, got.status, "{path} {fields}");
    assert_eq!(head.header("ETag"), None, "{path} {fields}");
    got.status
}

#[test]
fn without_a_reader_nobody_gets_a_byte_by_any_spelling() {
    let world = World::with(NO_GATE);
    store(&world, "ep-1", SECRET);
    for path in SPELLINGS {
        gets_nothing(&world, path, "");
        gets_nothing(
            &world,
            path,
            "Range: bytes=0-\r\nAuthorization: Bearer x\r\n",
        );
        gets_nothing(
            &world,
            path,
            "X-Cis490-Probe: 1\r\nX-Forwarded-For: 127.0.0.1\r\n",
        );
    }
    assert_eq!(gets_nothing(&world, PATH, ""), 403);
    // Nor does anybody hear whether it is there.
    for condition in [
        "",
        "If-None-Match: *\r\n",
        "If-Match: \"x\"\r\n",
        "Range: bytes=99999-\r\n",
    ] {
        let unknown = "/v1/episodes/lab-1/unknown.tar.zst";
        assert_eq!(gets_nothing(&world, PATH, condition), 403);
        assert_eq!(gets_nothing(&world, unknown, condition), 403);
    }
}

/// To a reader only the path itself is the path: every other spelling is an error, or another name's.
#[test]
fn to_a_reader_a_spelling_is_the_path_or_nothing() {
    let world = readable("");
    store(&world, "ep-1", SECRET);
    for path in SPELLINGS {
        let is_the_path =
            path.split('?').next() == Some(PATH) || path.to_lowercase().starts_with("http://");
        let got = ask(&world, "GET", path, "");
        if is_the_path {
            assert_eq!((got.status, &*got.body), (200, SECRET), "{path}");
        } else {
            gets_nothing(&world, path, "");
        }
    }
}

#[test]
fn the_reader_is_judged_behind_the_grammar_and_before_all_else() {
    let digest = sha256(b"sesame");
    let world = World::with(&format!(
        "[[reader]]\nid = \"by-token\"\ntoken_sha256 = \"{digest}\"\n[[reader]]\nid = \"elsewhere\"\naddress = \"10.8.0.0/24\"\n{NO_GATE}"
    ));
    store(&world, "ep-1", SECRET);
    assert_eq!(
        gets_nothing(&world, "/v1/episodes/LAB/ep-1.tar.zst", ""),
        400
    );
    let got = ask(&world, "GET", PATH, "If-Match: \"x\"\r\n");
    assert_eq!((got.status, &*got.problem()), (401, "no-reader-token"));
    assert_eq!(got.header("WWW-Authenticate"), Some("Bearer"));
    let got = ask(&world, "GET", PATH, "Authorization: Bearer wrong\r\n");
    assert_eq!((got.status, &*got.problem()), (401, "unknown-reader-token"));
    let token = "Authorization: Bearer sesame\r\n";
    let page = format!("{token}Origin: http://pi:8490\r\n");
    let got = ask(&world, "GET", PATH, &page);
    assert_eq!((got.status, &*got.problem()), (403, "page-may-not-read"));
    let got = ask(&world, "GET", PATH, token);
    assert_eq!((got.status, &*got.body), (200, SECRET));
    let unknown = "/v1/episodes/lab-1/unknown.tar.zst";
    let got = ask(
        &world,
        "GET",
        unknown,
        &format!("{token}If-Match: \"x\"\r\n"),
    );
    assert_eq!((got.status, &*got.problem()), (404, "not-found"));
    let log = world.log();
    assert!(log.contains("event=refused_request peer=127.0.0.1 status=401 reason=no-reader-token"));
    assert!(
        log.contains("reader=by-token") && !log.contains("sesame"),
        "{log}"
    );
}
