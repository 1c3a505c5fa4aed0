//! `GET /v1/episodes`: pages, cursors, bounds, and what is not shown.

use std::fs;

use super::{NO_GATE, READER, all_pages, next, problem, row, rows, starts, with_index};
use crate::client::{Answer, Client, Put};
use crate::holds::Holds;
use crate::world::{World, has_steps, is_emulated};

#[test]
fn the_list_has_the_rows_as_they_stand() {
    let index = rows(3);
    let world = with_index(&index);
    let answer = world.get("/v1/episodes");
    assert_eq!((answer.status, &answer.body), (200, &index));
    assert_eq!(answer.header("Content-Type"), Some("application/jsonl"));
    assert_eq!(next(&answer), index.len() as u64);
    let last = starts(&index)[2].to_string();
    assert_eq!(answer.header("X-Cis490-Last"), Some(&*last));
    assert_eq!(answer.header("Link"), None);
    let marker = fs::read_to_string(world.data_dir().join("cis490-store")).unwrap();
    let store = answer.header("X-Cis490-Store").unwrap();
    assert_eq!(marker, format!("cis490 store, format 1\nid {store}\n"));
    for header in ["Date", "Server"] {
        assert!(answer.header(header).is_some(), "{answer:?}");
    }
}

#[test]
fn an_empty_index_is_an_empty_list() {
    let world = with_index("");
    for query in ["", "?cursor=0", "?tail=5", "?host=lab-1"] {
        let answer = world.get(&format!("/v1/episodes{query}"));
        assert_eq!((answer.status, &*answer.body), (200, ""), "{query}");
        assert_eq!(next(&answer), 0, "{query}");
        assert_eq!(answer.header("X-Cis490-Last"), None, "{query}");
        assert_eq!(answer.header("Link"), None, "{query}");
    }
}

#[test]
fn pages_put_together_are_the_index() {
    let index = rows(2500);
    let world = with_index(&index);
    assert_eq!(all_pages(&world, ""), (index.clone(), 3));
    assert_eq!(all_pages(&world, "?limit=700"), (index.clone(), 4));
    assert_eq!(all_pages(&world, "?limit=500"), (index.clone(), 5));
    let of_host: String = index
        .split_inclusive('\n')
        .filter(|line| line.contains("\"host\":\"lab-1\""))
        .collect();
    let (found, pages) = all_pages(&world, "?host=lab-1&limit=200");
    assert_eq!((found, pages), (of_host, 5));
    let (found, pages) = all_pages(&world, "?host=nobody");
    assert_eq!((&*found, pages), ("", 1));
    // The question that a client with nothing new asks.
    let at_end = world.get(&format!("/v1/episodes?cursor={}", index.len()));
    assert_eq!((at_end.status, &*at_end.body), (200, ""));
    assert_eq!(next(&at_end), index.len() as u64);
    assert_eq!(at_end.header("X-Cis490-Last"), None);
}

#[test]
fn a_page_that_ends_with_its_hosts_last_row_has_a_link_while_other_rows_follow() {
    let index = row(1, "a", "1") + &row(2, "b", "2");
    let world = with_index(&index);
    let first = world.get("/v1/episodes?host=a&limit=1");
    assert_eq!(first.body, row(1, "a", "1"));
    assert!(first.header("Link").is_some(), "{first:?}");
    let last = world.get("/v1/episodes?host=b&limit=1");
    assert_eq!(last.body, row(2, "b", "2"));
    assert_eq!(last.header("Link"), None, "{last:?}");
}

#[test]
fn tail_begins_so_many_rows_before_the_end() {
    let index = rows(2500);
    let world = with_index(&index);
    let lines: Vec<&str> = index.split_inclusive('\n').collect();
    for count in [1, 2, 999, 1000] {
        let answer = world.get(&format!("/v1/episodes?tail={count}"));
        assert_eq!(answer.body, lines[2500 - count..].concat(), "{count}");
        assert_eq!(next(&answer), index.len() as u64);
        assert_eq!(answer.header("Link"), None);
    }
    let of_host: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.contains("\"host\":\"lab-2\""))
        .collect();
    let answer = world.get("/v1/episodes?tail=300&host=lab-2");
    assert_eq!(answer.body, of_host[of_host.len() - 300..].concat());
    // A limit ends the page before the end, and its link leads on from there.
    let (found, pages) = all_pages(&world, "?tail=10&limit=4");
    assert_eq!((found, pages), (lines[2490..].concat(), 3));
    // More than there are is all.
    let all = with_index(&rows(3)).get("/v1/episodes?tail=1000");
    assert_eq!(all.body, rows(3));
}

/// What a hand, a merge or an older version leaves in an index.
#[test]
fn lines_that_are_no_rows_are_left_out_and_odd_rows_are_shown_as_they_stand() {
    let sha = "0f".repeat(32);
    let old = format!("{{\"host\":\"lab-1\",\"episode\":\"old\",\"sha256\":\"{sha}\"}}\n");
    let spaced = format!(
        "  {{ \"episode\" : \"spaced\", \"later\": [1, {{}}], \"host\" : \"lab-1\", \"sha256\": \"{sha}\", \"seq\": \"odd\" }}  \n"
    );
    let escaped = format!("{{\"host\":\"l\\u0061b-1\",\"episode\":\"e\",\"sha256\":\"{sha}\"}}\n");
    let with_return = format!("{}\r\n", row(9, "lab-2", "crlf").trim_end());
    let twice = row(1, "lab-1", "ep-1");
    let long = format!("{}\n", "x".repeat(100_000));
    let huge = row(18_446_744_073_709_551_615_u64 as usize, "lab-1", "huge");
    let index = [
        "\n",
        &twice,
        "not json\n",
        &old,
        "\t \n",
        &spaced,
        "{\"host\":\"..\"}\n",
        &long,
        &twice,
        "\0\0\0\n",
        &escaped,
        &with_return,
        &huge,
        "\n",
        "\n",
    ]
    .concat();
    let shown = [&twice, &old, &spaced, &twice, &escaped, &with_return, &huge];
    let world = with_index(&index);
    let text: String = shown.iter().map(|line| line.as_str()).collect();
    assert_eq!(all_pages(&world, ""), (text.clone(), 1));
    assert_eq!(all_pages(&world, "?limit=2").0, text);
    assert_eq!(all_pages(&world, "?limit=1"), (text.clone(), 7));
    let of_host: String = shown
        .iter()
        .filter(|line| !line.contains("crlf"))
        .map(|line| line.as_str())
        .collect();
    assert_eq!(all_pages(&world, "?host=lab-1").0, of_host);
    for (count, from) in [(1, 6), (2, 5), (3, 4), (4, 3), (7, 0), (100, 0)] {
        let answer = world.get(&format!("/v1/episodes?tail={count}"));
        let want: String = shown[from..].iter().map(|line| line.as_str()).collect();
        assert_eq!(answer.body, want, "tail={count}");
    }
}

#[test]
fn a_cursor_is_where_a_row_begins() {
    let index = rows(5);
    let world = with_index(&index);
    let begins: Vec<usize> = starts(&index).into_iter().chain([index.len()]).collect();
    for cursor in 0..index.len() + 3 {
        let answer = world.get(&format!("/v1/episodes?cursor={cursor}"));
        if begins.contains(&cursor) {
            assert_eq!((answer.status, &*answer.body), (200, &index[cursor..]));
        } else {
            assert_eq!((answer.status, &*problem(&answer)), (400, "bad-cursor"));
        }
    }
    for odd in [
        "x",
        "-1",
        "01",
        "1e3",
        "%30",
        "18446744073709551615",
        "99999999999999999999",
    ] {
        let answer = world.get(&format!("/v1/episodes?cursor={odd}"));
        assert_eq!(
            (answer.status, &*problem(&answer)),
            (400, "bad-cursor"),
            "{odd}"
        );
    }
}

#[test]
fn a_rebuilt_index_is_noticed_by_its_cursors_or_its_rows() {
    let index = rows(5);
    let mut world = with_index(&index);
    let before = world.get("/v1/episodes?limit=3");
    let cursor = next(&before);
    let store = before.header("X-Cis490-Store").unwrap().to_owned();
    assert_eq!(world.stop(), Some(0));
    let shorter = rows(1);
    fs::write(world.data_dir().join("index.jsonl"), &shorter).unwrap();
    world.start();
    let answer = world.get(&format!("/v1/episodes?cursor={cursor}"));
    assert_eq!((answer.status, &*problem(&answer)), (400, "bad-cursor"));
    let again = world.get("/v1/episodes");
    assert_eq!(again.body, shorter);
    assert_eq!(again.header("X-Cis490-Store"), Some(&*store));
}

#[test]
fn a_query_that_is_wrong_is_400_and_names_its_key() {
    let world = with_index(&rows(1));
    for (query, key) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=", "limit"),
        ("limit", "limit"),
        ("limit=+5", "limit"),
        ("limit=5&limit=5", "limit"),
        ("tail=0", "tail"),
        ("tail=1001", "tail"),
        ("tail=1&cursor=0", "tail"),
        ("host=", "host"),
        ("host=LAB", "host"),
        ("host=lab%2D1", "host"),
        ("host=lab-1&host=lab-1", "host"),
        ("cursor=", "cursor"),
        ("cursor=0&cursor=0", "cursor"),
        ("Limit=1", "Limit"),
        ("since=1", "since"),
        ("%6Cimit=1", "%6Cimit"),
        ("limit=1&", "the key"),
        ("&limit=1", "the key"),
        ("limit=1?host=a", "limit"),
    ] {
        let answer = world.get(&format!("/v1/episodes?{query}"));
        assert_eq!(
            (answer.status, &*problem(&answer)),
            (400, "bad-query"),
            "{query}"
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(key), "{query}: {detail}");
    }
    for fine in ["", "?", "?limit=1000", "?host=lab-1&limit=1&cursor=0"] {
        assert_eq!(
            world.get(&format!("/v1/episodes{fine}")).status,
            200,
            "{fine}"
        );
    }
}

#[test]
fn the_path_has_its_methods() {
    let world = with_index(&rows(2));
    let options = world.ask("OPTIONS", "/v1/episodes");
    assert_eq!(options.status, 204);
    assert_eq!(options.header("Allow"), Some("GET, HEAD, OPTIONS"));
    let delete = world.ask("DELETE", "/v1/episodes?limit=1");
    assert_eq!(
        (delete.status, delete.header("Allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    let get = world.get("/v1/episodes?limit=1");
    let head = world.ask("HEAD", "/v1/episodes?limit=1");
    assert_eq!(head.status, 200);
    for name in [
        "Content-Length",
        "Content-Type",
        "X-Cis490-Store",
        "X-Cis490-Next",
        "X-Cis490-Last",
        "Link",
    ] {
        assert_eq!(head.header(name), get.header(name), "{name}");
        assert!(head.header(name).is_some(), "{name}");
    }
    let refused = world.ask("HEAD", "/v1/episodes?limit=0");
    assert_eq!(refused.status, 400);
}

#[test]
fn a_list_ends_its_connection_and_a_refusal_keeps_it() {
    if is_emulated() {
        return skip!("an emulated receiver keeps no connection");
    }
    let world = with_index(&rows(1500));
    let mut client = world.client();
    let ask = |client: &mut Client, target: &str| -> Answer {
        let request = format!("GET {target} HTTP/1.1\r\nHost: pi\r\n\r\n");
        client.send(request.as_bytes()).unwrap();
        client
            .answer()
            .unwrap_or_else(|| panic!("no answer to {target}"))
    };
    assert_eq!(ask(&mut client, "/v1/health").status, 200);
    assert_eq!(ask(&mut client, "/v1/episodes?limit=0").status, 400);
    assert_eq!(ask(&mut client, "/v1/episodes?cursor=1").status, 400);
    let list = ask(&mut client, "/v1/episodes");
    assert_eq!((list.status, list.body.lines().count()), (200, 1000));
    assert_eq!(list.header("Connection"), Some("close"));
    assert!(client.is_closed());
}

/// A row counts when its append is on the disk: a cursor that was given must survive a power cut.
#[test]
fn rows_whose_append_is_not_synced_are_not_shown() {
    if !has_steps("rows_whose_append_is_not_synced_are_not_shown") {
        return;
    }
    let mut world = World::prepared(&format!("{READER}{NO_GATE}"));
    let holds = Holds::of(&mut world);
    world.start();
    let put = |name: &str| Put::sample(&"c".repeat(40)).episode(name);
    assert_eq!(world.put(&put("first")).status, 201);
    let before = world.get("/v1/episodes");
    assert_eq!(before.body.lines().count(), 1);
    holds.set(&["fdatasync"]);
    let mut client = world.client();
    client.send(&put("second").bytes()).unwrap();
    world.wait_until("the row is in the file", |world| world.rows().len() == 2);
    let meanwhile = world.get("/v1/episodes");
    assert_eq!(meanwhile.body, before.body);
    assert_eq!(next(&meanwhile), next(&before));
    // Where the row begins is the end; where it ends is no cursor yet.
    let length = fs::read(world.data_dir().join("index.jsonl"))
        .unwrap()
        .len();
    let behind = world.get(&format!("/v1/episodes?cursor={length}"));
    assert_eq!((behind.status, &*problem(&behind)), (400, "bad-cursor"));
    let newest = world.get("/v1/episodes?tail=1");
    assert_eq!(newest.body, before.body);
    holds.set(&[]);
    assert_eq!(client.answer().unwrap().status, 201);
    let after = world.get(&format!("/v1/episodes?cursor={}", next(&before)));
    assert_eq!(after.body.lines().count(), 1);
    assert_eq!(next(&after), length as u64);
}

/// A row whose file may still be lost is not shown, nor is any behind it: a reader that asked for its bytes
/// would hear that there are none.
#[test]
fn rows_are_shown_once_their_files_are_on_the_disk() {
    if !has_steps("rows_are_shown_once_their_files_are_on_the_disk") {
        return;
    }
    let mut world = World::prepared(&format!("{READER}{NO_GATE}"));
    let holds = Holds::of(&mut world);
    world.start();
    let put = |name: &str| Put::sample(&"c".repeat(40)).episode(name);
    assert_eq!(world.put(&put("first")).status, 201);
    let before = world.get("/v1/episodes");
    holds.set(&["~held~"]);
    let mut client = world.client();
    client.send(&put("held").bytes()).unwrap();
    world.wait_until("the row is in the file", |world| world.rows().len() == 2);
    assert_eq!(world.put(&put("third")).status, 201);
    let meanwhile = world.get("/v1/episodes");
    assert_eq!(meanwhile.body, before.body);
    assert_eq!(next(&meanwhile), next(&before));
    holds.set(&[]);
    assert_eq!(client.answer().unwrap().status, 201);
    let after = world.get(&format!("/v1/episodes?cursor={}", next(&before)));
    assert_eq!(after.body.lines().count(), 2);
}
