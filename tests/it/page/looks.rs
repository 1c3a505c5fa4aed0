//! The pages as a person sees them, in a real Chromium: at two widths, light and dark, without script.
//! Its pictures lie in target/tmp/page afterwards.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cis490::clock;
use serde_json::json;

use super::browser::{Browser, program_for};
use super::{Lab, NASTY_EPISODE, NASTY_HOSTS, report};
use crate::client::{Client, Put};
use crate::world::World;

/// The worst contrast of any text on the page to what lies behind it, and that text.
const WORST_CONTRAST: &str = r#"(() => {
    const parts = colour => colour.match(/[\d.]+/g).map(Number);
    const light = colour => {
        const [r, g, b] = parts(colour).map(c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            const [, , , alpha] = parts(colour);
            if (alpha === undefined || alpha === 1) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    let worst = {ratio: 99, text: ''};
    for (const element of document.body.querySelectorAll('*')) {
        const text = [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join('');
        if (!text || element.closest('svg')) continue;
        const [a, b] = [light(getComputedStyle(element).color), light(behind(element))].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < worst.ratio) worst = {ratio, text};
    }
    return worst;
})()"#;

/// Ages whose time nobody can see by pointing at them.
const AGES_WITHOUT_TIME: &str = r#"(() => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
        const text = texts.currentNode;
        const isAge = /\bago\b|just now|\d+ (s|min|h|d) left|\bin \d+ (s|min|h|d)\b/.test(text.data);
        if (isAge && !text.parentElement.closest('[title]')) found.push(text.data);
    }
    return found;
})()"#;

/// Elements that stick out to the right of the screen.
const STICKING_OUT: &str = r#"[...document.querySelectorAll('body *')]
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
    .map(e => e.outerHTML.slice(0, 80))"#;

fn picture_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("page")
        .join(name)
}

fn url(world: &World) -> String {
    url_of(world, "/")
}

fn url_of(world: &World, path: &str) -> String {
    format!("http://{}{path}", world.address())
}

/// The lab in trouble, with reports and with an upload under way on the connection.
fn busy_lab() -> (Lab, Client) {
    let lab = Lab::with_trouble();
    let world = &lab.world;
    let ago = |seconds| clock::rfc3339(SystemTime::now() - Duration::from_secs(seconds));
    let ahead = clock::rfc3339(SystemTime::now() + Duration::from_secs(3000));
    let state = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "waiting": {"episodes": 12, "bytes": 48_000_000, "oldest_at": ago(9000)},
        "held": [{"commit": lab.commit(116), "episodes": 14, "since": ago(20_000)}],
        "refused": [{"episode": "swing-0001", "reason": "taken", "at": ago(30_000)}],
        "next_try_at": ahead, "last_success_at": ago(18_000), "free_bytes": 5_000_000_000_u64,
    });
    report(world, "lab-7", &state);
    for number in 0..3 {
        let path = format!("/v1/episodes/lab-7/old-{number}");
        let put = Put::sample(&lab.commit(116)).path(&path);
        assert_eq!(world.put(&put).status, 412);
    }
    let put = Put::sample(&lab.commit(1)).path("/v1/episodes/lab-7/swing-0050");
    let bytes = put.body(&[7; 4_000_000]).bytes();
    let mut client = world.client();
    client.send(&bytes[..bytes.len() - 1_000_000]).unwrap();
    lab.wait_for_text("value=75");
    lab.wait_for_text("old-2");
    (lab, client)
}

#[test]
fn the_pages_look_right_at_two_widths_in_light_and_dark() {
    let Some(program) = program_for("the_pages_look_right_at_two_widths_in_light_and_dark") else {
        return;
    };
    let (lab, mut upload) = busy_lab();
    let mut browser = Browser::start(&program);
    let pages = [
        ("", "/"),
        ("host-", "/hosts/lab-7"),
        ("help-", "/help/not-in-window"),
    ];
    let looks = [
        ("desktop-light.png", 1280, false),
        ("desktop-dark.png", 1280, true),
        ("phone-light.png", 390, false),
        ("phone-dark.png", 390, true),
    ];
    for (prefix, path) in pages {
        for (look, width, dark) in looks {
            let name = format!("{prefix}{look}");
            let url = url_of(&lab.world, path);
            // Else the upload would soon be too slow.
            upload.send(&[7; 1000]).unwrap();
            browser.look_with(width, dark);
            browser.open(&url);
            browser.picture(&picture_file(&name));
            assert_eq!(browser.complaints(), [""; 0], "{name}");
            assert_eq!(browser.requests(), [url], "{name}: nothing from elsewhere");
            let sticking_out = browser.evaluate(STICKING_OUT);
            assert_eq!(sticking_out, json!([]), "{name}");
            let worst = browser.evaluate(WORST_CONTRAST);
            assert!(worst["ratio"].as_f64().unwrap() >= 4.5, "{name}: {worst}");
            let background = browser.evaluate("getComputedStyle(document.body).backgroundColor");
            assert_eq!(
                background == "rgb(20, 22, 26)",
                dark,
                "{name}: {background}"
            );
            // The style has been applied, which its hash in the policy must allow.
            let width_max =
                browser.evaluate("getComputedStyle(document.querySelector('main')).maxWidth");
            assert_eq!(width_max, "1216px", "{name}");
            assert_eq!(browser.evaluate(AGES_WITHOUT_TIME), json!([]), "{name}");
            if path == "/help/not-in-window" {
                continue;
            }
            let columns = "getComputedStyle(document.querySelector('.t')).gridTemplateColumns.split(' ').length";
            assert_eq!(
                browser.evaluate(columns),
                if width < 600 { 1 } else { 4 },
                "{name}"
            );
        }
    }
}

/// The chart's numbers stand at their lines, and its dates beside each other.
#[test]
fn the_chart_is_in_its_place() {
    let Some(program) = program_for("the_chart_is_in_its_place") else {
        return;
    };
    let (lab, _upload) = busy_lab();
    let mut browser = Browser::start(&program);
    for width in [1280, 970, 720, 390] {
        browser.look_with(width, false);
        browser.open(&url(&lab.world));
        assert_eq!(browser.evaluate(STICKING_OUT), json!([]), "{width}");
        // The middles of the numbers, and the top, the middle and the foot of the bars' part of the drawing.
        let middles = browser.evaluate(
            "[...document.querySelectorAll('.c div b')].map(b => { const r = b.getBoundingClientRect(); return r.top + 6; })",
        );
        let lines = browser.evaluate(
            "(() => { const r = document.querySelector('.c svg svg').getBoundingClientRect(); return [r.top, r.top + 32, r.top + 64]; })()",
        );
        for (middle, line) in middles
            .as_array()
            .unwrap()
            .iter()
            .zip(lines.as_array().unwrap())
        {
            let off = middle.as_f64().unwrap() - line.as_f64().unwrap();
            assert!(off.abs() < 2.0, "{width}: {middles} {lines}");
        }
        let gap = browser.evaluate(
            "(() => { const [a, b] = [...document.querySelectorAll('.c text')].map(t => t.getBoundingClientRect()); return b.left - a.right; })()",
        );
        assert!(gap.as_f64().unwrap() > 4.0, "{width}: {gap}");
    }
}

#[test]
fn one_click_selects_the_lines_to_paste() {
    let Some(program) = program_for("one_click_selects_the_lines_to_paste") else {
        return;
    };
    let lab = Lab::with_trouble();
    let mut browser = Browser::start(&program);
    browser.look_with(1280, false);
    for path in ["/", "/hosts/lab-7", "/help/not-in-window"] {
        browser.open(&url_of(&lab.world, path));
        let place = browser.evaluate(
            "(() => { const r = document.querySelector('pre').getBoundingClientRect(); return [r.left + 30, r.top + 15]; })()",
        );
        browser.click(place[0].as_f64().unwrap(), place[1].as_f64().unwrap());
        let selected = browser.evaluate("getSelection().toString().trim()");
        let lines = browser.evaluate("document.querySelector('pre').textContent.trim()");
        assert_eq!(selected, lines, "{path}");
        assert!(
            lines.as_str().unwrap().contains("systemctl restart"),
            "{lines}"
        );
    }
}

/// A person goes from the front to a host, to a refusal's explanation, and back.
#[test]
fn links_lead_from_page_to_page() {
    let Some(program) = program_for("links_lead_from_page_to_page") else {
        return;
    };
    let lab = Lab::with_trouble();
    let mut browser = Browser::start(&program);
    browser.look_with(1280, false);
    let mut here = url(&lab.world);
    for (link, path) in [
        ("a[href='hosts/lab-7']", "/hosts/lab-7"),
        ("a[href='../help/not-in-window']", "/help/not-in-window"),
        ("header a", "/"),
        ("a[href='help/bad-name']", "/help/bad-name"),
        ("footer a", "/"),
        ("a[href='hosts/lab-1']", "/hosts/lab-1"),
        ("footer a", "/"),
    ] {
        browser.open(&here);
        let leads_to = browser.evaluate(&format!("document.querySelector(\"{link}\").href"));
        here = url_of(&lab.world, path);
        assert_eq!(leads_to, here, "{link}");
    }
}

#[test]
fn the_page_renews_itself_without_script() {
    let Some(program) = program_for("the_page_renews_itself_without_script") else {
        return;
    };
    let world = World::new();
    let mut browser = Browser::start(&program);
    browser.allow_scripts(false);
    browser.look_with(1280, false);
    browser.open(&url(&world));
    assert!(
        browser
            .document()
            .contains("No host has uploaded anything yet")
    );
    let put = world.good().path("/v1/episodes/lab-77/ep-1");
    assert_eq!(world.put(&put).status, 201);
    let until = Instant::now() + Duration::from_secs(120);
    while !browser.document().contains("lab-77") {
        assert!(Instant::now() < until, "the page does not renew itself");
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn nasty_names_are_text_and_no_more() {
    let Some(program) = program_for("nasty_names_are_text_and_no_more") else {
        return;
    };
    let lab = Lab::with_nasty_names();
    let mut browser = Browser::start(&program);
    for width in [1280, 390] {
        browser.look_with(width, false);
        browser.open(&url(&lab.world));
        browser.picture(&picture_file(&format!("nasty-{width}.png")));
        assert_eq!(browser.complaints(), [""; 0]);
        assert_eq!(browser.requests(), [url(&lab.world)]);
        let brought_in = browser
            .evaluate("document.querySelectorAll('script, img, iframe, object, b script').length");
        assert_eq!(brought_in, 0);
        assert_eq!(
            browser.evaluate(STICKING_OUT),
            serde_json::json!([]),
            "{width}"
        );
        let text = browser.evaluate("document.body.innerText");
        let text = text.as_str().unwrap();
        for name in NASTY_HOSTS.iter().chain([&NASTY_EPISODE, &"<img"]) {
            assert!(text.contains(name), "{name} is not told\n{text}");
        }
    }
    let [host, ..] = NASTY_HOSTS;
    let url = url_of(&lab.world, &format!("/hosts/{host}"));
    for width in [1280, 390] {
        browser.look_with(width, false);
        browser.open(&url);
        browser.picture(&picture_file(&format!("nasty-host-{width}.png")));
        assert_eq!(browser.complaints(), [""; 0]);
        assert_eq!(browser.requests(), [url.as_str()]);
        assert_eq!(browser.evaluate(STICKING_OUT), json!([]), "{width}");
        let text = browser.evaluate("document.body.innerText");
        let text = text.as_str().unwrap();
        assert!(
            text.contains(host) && text.contains(NASTY_EPISODE),
            "{text}"
        );
    }
}
