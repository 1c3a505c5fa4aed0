//! The uploads under way, as the receiver itself sees them and as a lab host reports them.

use serde_json::json;

use super::report;
use crate::world::World;

const MB: usize = 1_000_000;

#[test]
fn an_upload_under_way_is_shown_with_percent_rate_and_time_left() {
    let world = World::new();
    let none = world.get("/").body;
    assert!(!none.contains("Uploads under way"), "{none}");
    let put = world
        .good()
        .path("/v1/episodes/lab-1/swing-1")
        .body(&vec![7; 20 * MB]);
    let bytes = put.bytes();
    let body_at = bytes.len() - 20 * MB;
    let mut client = world.client();
    client.send(&bytes[..body_at + 5 * MB]).unwrap();
    let of_front = "<tr><th><a href=hosts/lab-1>lab-1</a><td>swing-1<td><progress max=100 value=25></progress> 25 % <s>of 20.0 MB</s><td>";
    world.wait_until("a quarter of it", |world| {
        world.get("/").body.contains(of_front)
    });
    for path in ["/", "/hosts/lab-1"] {
        world.wait_until(path, |world| {
            let answer = world.get(path);
            answer
                .body
                .contains("<td>swing-1<td><progress max=100 value=25>")
        });
        let page = world.get(path).body;
        let (_, row) = page.split_once("25 % <s>of 20.0 MB</s><td>").unwrap();
        let (rate, left) = row.split_once("/s<td><span title=").unwrap();
        assert!(rate.ends_with("B"), "{rate}");
        let (left, _) = left.split_once("</span>").unwrap();
        // By the time that it would end.
        assert_eq!(left.find("Z>"), Some(19), "{left}");
    }
    // A report of the same upload is no second one, and other hosts' pages have none.
    let uploading = json!({"episode": "swing-1", "bytes_sent": 6 * MB, "bytes": 20 * MB, "bytes_per_second": MB});
    report(&world, "lab-1", &json!({"uploading": uploading}));
    report(&world, "lab-2", &json!({}));
    world.wait_until("the report", |world| world.get("/").body.contains("lab-2"));
    let front = world.get("/").body;
    assert_eq!(front.matches("<progress").count(), 1, "{front}");
    assert!(front.contains(of_front), "{front}");
    assert!(!world.get("/hosts/lab-2").body.contains("<progress"));
    // It ends, and is shown no more: not by the report of before either.
    client.send(&bytes[body_at + 5 * MB..]).unwrap();
    assert_eq!(client.answer().unwrap().status, 201);
    world.wait_until("it is stored", |world| {
        let front = world.get("/").body;
        front.contains(">swing-1</a>") && !front.contains("<progress")
    });
}

#[test]
fn an_upload_that_breaks_off_is_shown_no_more() {
    let world = World::new();
    let put = world
        .good()
        .path("/v1/episodes/lab-1/swing-1")
        .body(&vec![7; MB]);
    let bytes = put.bytes();
    let mut client = world.client();
    client.send(&bytes[..bytes.len() - 10]).unwrap();
    world.wait_until("it is shown", |world| {
        world.get("/").body.contains("<progress max=100 value=99>")
    });
    drop(client);
    world.wait_until("it has ended", |world| {
        !world.get("/").body.contains("<progress")
    });
    world.wait_until("why", |world| {
        world.get("/").body.contains("body-cut-short")
    });
}

/// One that reaches the receiver only when a proxy has all of it.
#[test]
fn an_upload_that_only_its_host_reports_is_shown_as_reported() {
    let world = World::new();
    let uploading =
        json!({"episode": "swing-1", "bytes_sent": 43, "bytes": 100, "bytes_per_second": 3});
    report(&world, "lab-1", &json!({"uploading": uploading}));
    let front = world.get("/").body;
    let row = "<td>swing-1<td><progress max=100 value=43></progress> 43 % <s>of 100 B</s> <s>reported <span title=";
    assert!(front.contains(row), "{front}");
    assert!(front.contains(">19 s</span>"), "{front}");
    // Many do not drive out the rest of the page.
    for number in 0..40 {
        report(
            &world,
            &format!("host-{number}"),
            &json!({"uploading": uploading}),
        );
    }
    world.wait_until("they are counted", |world| {
        let front = world.get("/").body;
        front.contains("more uploads, not shown to keep the page small.")
    });
    assert!(world.get("/").body.len() < 30 << 10);
}
