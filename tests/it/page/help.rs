//! `/help/{reason}`: each refusal that there is has a page that says what it means and what to do.

use crate::world::World;

/// The names of all refusals, as the command lists them.
fn reasons(world: &World) -> Vec<String> {
    let manual = world.run(&["help", "refusals"]);
    let lines = manual.lines().filter_map(|line| line.split_once("  "));
    let named = lines.filter(|(status, _)| status.parse::<u16>().is_ok());
    named.map(|(_, name)| name.trim().to_owned()).collect()
}

#[test]
fn each_refusal_has_its_page() {
    let world = World::new();
    let front = world.get("/");
    let reasons = reasons(&world);
    assert!(reasons.len() > 40, "{reasons:?}");
    for reason in &reasons {
        let page = world.get(&format!("/help/{reason}"));
        assert_eq!(page.status, 200, "{reason}: {page:?}");
        for name in ["Content-Type", "Content-Security-Policy", "Cache-Control"] {
            assert_eq!(page.header(name), front.header(name), "{name}");
        }
        for text in [
            format!(" {reason}</h1>"),
            "<h2>What it means</h2>".to_owned(),
            "<h2>What to do</h2>".to_owned(),
            format!("<code>cis490 help refusals {reason}</code>"),
        ] {
            assert!(page.body.contains(&text), "{text} is not in\n{}", page.body);
        }
        // The command has the same words, if in other lines.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let (_, rest) = page.body.split_once("<h2>What it means</h2>\n<p>").unwrap();
        let meaning = rest.split("<p>").next().unwrap();
        let meaning = meaning.replace("&#39;", "'").replace("&#34;", "\"");
        let manual = world.run(&["help", "refusals", reason]);
        assert!(
            words(&manual).contains(&words(&meaning)),
            "{meaning}\n{manual}"
        );
        assert!(page.body.len() < 30 << 10);
        assert!(!page.body.contains("<script"));
    }
}

#[test]
fn a_refusal_that_is_not_known_is_404_with_words() {
    let world = World::new();
    for name in ["", "tooken", "Taken", "taken/", "..", "%74aken", "<b>"] {
        let answer = world.get(&format!("/help/{name}"));
        assert_eq!(answer.status, 404, "{name}: {answer:?}");
        assert_eq!(answer.json()["type"], "urn:cis490:problem:not-found");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            detail.contains("cis490 help refusals lists all"),
            "{detail}"
        );
    }
    let long = world.get(&format!("/help/{}", "x".repeat(4000)));
    assert!(long.body.len() < 500, "{long:?}");
    assert_eq!(world.ask("HEAD", "/help/taken").status, 200);
    assert_eq!(world.ask("OPTIONS", "/help/taken").status, 204);
    assert_eq!(world.ask("POST", "/help/taken").status, 405);
}

#[test]
fn the_lines_to_paste_are_on_the_page_of_code_that_is_out_of_date() {
    let world = World::new();
    let old = world.good().commit(world.too_old());
    let answer = world.put(&old);
    let problem = answer.json();
    // The wire's own name of the refusal stays.
    assert_eq!(problem["type"], "urn:cis490:problem:not-in-window");
    let remediation = problem["remediation"].as_str().unwrap();
    let first = remediation.lines().next().unwrap();
    let page = world.get("/help/not-in-window").body;
    let page = page
        .replace("&#39;", "'")
        .replace("&#34;", "\"")
        .replace("&amp;", "&");
    assert!(page.contains(&format!("<pre>{first}")), "{first}\n{page}");
    let other = world.get("/help/taken").body;
    assert!(!other.contains("<pre>"), "{other}");
    // A refusal that refers to another leads there.
    let page = world.get("/help/unknown-method").body;
    assert!(
        page.contains("As <a href=not-found>not-found</a>."),
        "{page}"
    );
}
