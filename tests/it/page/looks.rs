//! The page as a person sees it, in a real Chromium: at two widths, light and dark, without script.
//! Its pictures lie in target/tmp/page afterwards.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::browser::{Browser, program_for};
use super::{Lab, NASTY_EPISODE, NASTY_HOSTS};
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
    format!("http://{}/", world.address())
}

#[test]
fn the_page_looks_right_at_two_widths_in_light_and_dark() {
    let Some(program) = program_for("the_page_looks_right_at_two_widths_in_light_and_dark") else {
        return;
    };
    let lab = Lab::with_trouble();
    let mut browser = Browser::start(&program);
    for (name, width, dark) in [
        ("desktop-light.png", 1280, false),
        ("desktop-dark.png", 1280, true),
        ("phone-light.png", 390, false),
        ("phone-dark.png", 390, true),
    ] {
        browser.look_with(width, dark);
        browser.open(&url(&lab.world));
        browser.picture(&picture_file(name));
        assert_eq!(browser.complaints(), [""; 0], "{name}");
        assert_eq!(
            browser.requests(),
            [url(&lab.world)],
            "{name}: nothing from elsewhere"
        );
        let sticking_out = browser.evaluate(STICKING_OUT);
        assert_eq!(sticking_out, serde_json::json!([]), "{name}");
        let worst = browser.evaluate(WORST_CONTRAST);
        assert!(worst["ratio"].as_f64().unwrap() >= 4.5, "{name}: {worst}");
        let background = browser.evaluate("getComputedStyle(document.body).backgroundColor");
        assert_eq!(
            background == "rgb(20, 22, 26)",
            dark,
            "{name}: {background}"
        );
        // The style has been applied, which its hash in the policy must allow.
        let columns =
            "getComputedStyle(document.querySelector('.t')).gridTemplateColumns.split(' ').length";
        assert_eq!(
            browser.evaluate(columns),
            if width < 600 { 1 } else { 4 },
            "{name}"
        );
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
}
