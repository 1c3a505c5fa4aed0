//! What a Forgejo that is well answers: a function of the request and the repository. Bodies of
//! errors are those that were recorded.

use serde_json::{Value, json};

use super::recorded::Recorded;
use super::{Request, State};
use crate::git::{git, git_command};

const API: &str = "/api/v1/repos/";
const OWNER: &str = "lab";
const NAME: &str = "cis490";

type Answer = (u16, String, String);

/// Status, headers, body.
pub fn answer(request: &Request, state: &State) -> Answer {
    let wanted = state.token.as_ref().map(|token| format!("token {token}"));
    let given = request
        .header("authorization")
        .first()
        .map(ToString::to_string);
    match (wanted, given) {
        (Some(wanted), Some(given)) if wanted != given => return unauthorized(&given),
        (Some(_), None) => return recorded("404-no-repository-refs"),
        _ => {}
    }
    let Some(rest) = request.target.strip_prefix(API) else {
        return recorded("404-no-such-route-plain-text");
    };
    let mut parts = rest.splitn(3, '/');
    let (owner, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let below = parts.next().unwrap_or("");
    if owner != OWNER {
        return recorded("404-no-owner-refs");
    }
    if name != NAME || state.hides_repository {
        return recorded("404-no-repository-refs");
    }
    if let Some((owner, name)) = &state.renamed_to {
        return redirect(301, &format!("{API}{owner}/{name}/{below}"));
    }
    if let Some(owner) = &state.owner_renamed_to {
        return redirect(307, &format!("{API}{owner}/{name}/{below}"));
    }
    if below.is_empty() {
        return repository(state);
    }
    if state.code_is_off {
        return recorded("404-no-repository-refs");
    }
    if let Some(prefix) = below.strip_prefix("git/") {
        refs(prefix, state)
    } else if let Some(branch) = below.strip_prefix("branches/") {
        branch_of(branch, state)
    } else if below.starts_with("commits?") {
        commits(request, state)
    } else {
        recorded("404-no-such-route-plain-text")
    }
}

fn recorded(name: &str) -> Answer {
    let Recorded {
        status,
        headers,
        body,
    } = Recorded::read(name);
    (status, headers, body)
}

/// It repeats the token that it was given.
fn unauthorized(given: &str) -> Answer {
    let (status, headers, body) = recorded("401-revoked-token-ECHOES-THE-TOKEN");
    let token = given.trim_start_matches("token ");
    let body = body.replace("00000000000000000000000000000000deadbeef", token);
    (status, headers, body)
}

/// A path without host, as it answers for what was renamed.
fn redirect(status: u16, to: &str) -> Answer {
    let headers = format!("Content-Type: text/html; charset=utf-8\r\nLocation: {to}\r\n");
    (status, headers, format!("<a href=\"{to}\">Moved</a>.\n\n"))
}

fn ok(body: &Value) -> Answer {
    let headers = "Cache-Control: max-age=0, private, must-revalidate\r\nContent-Type: application/json;charset=utf-8\r\n";
    (200, headers.to_owned(), format!("{body}\n"))
}

fn is_empty(state: &State) -> bool {
    state.lags || git(&state.repository, &["for-each-ref"]).is_empty()
}

fn repository(state: &State) -> Answer {
    ok(&json!({
        "id": 1,
        "owner": {"id": 1, "login": OWNER},
        "name": NAME,
        "full_name": format!("{OWNER}/{NAME}"),
        "empty": is_empty(state),
        "mirror": state.is_mirror,
        "archived": state.is_archived,
        "default_branch": state.default_branch,
        "permissions": {"admin": false, "push": false, "pull": !state.code_is_off},
    }))
}

/// All refs that begin so, by their names.
fn refs(prefix: &str, state: &State) -> Answer {
    let format = "--format=%(refname) %(objectname)";
    let all = git(&state.repository, &["for-each-ref", format]);
    let found: Vec<Value> = all
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, hash)| {
            json!({"ref": name, "url": format!("http://elsewhere.invalid/{name}"), "object": {"type": "commit", "sha": hash, "url": format!("http://elsewhere.invalid/{hash}")}})
        })
        .collect();
    match found.is_empty() {
        true => recorded("404-empty-refs"),
        false => ok(&Value::Array(found)),
    }
}

fn branch_of(branch: &str, state: &State) -> Answer {
    let hash = resolve(&format!("refs/heads/{branch}"), state);
    match hash.filter(|_| !state.lags) {
        None => {
            let (status, headers, body) = recorded("404-no-branch-branches");
            (
                status,
                headers,
                body.replace("name: main", &format!("name: {branch}")),
            )
        }
        Some(hash) => ok(
            &json!({"name": branch, "protected": false, "commit": {"id": hash, "message": "", "author": null, "added": null}}),
        ),
    }
}

/// As git does, tags before branches.
fn resolve(revision: &str, state: &State) -> Option<String> {
    let revision = format!("{revision}^{{commit}}");
    let arguments = ["rev-parse", "-q", "--verify", &revision];
    let output = git_command(&state.repository, &arguments).output().unwrap();
    let hash = String::from_utf8(output.stdout).unwrap();
    output.status.success().then(|| hash.trim().to_owned())
}

fn commits(request: &Request, state: &State) -> Answer {
    let head = resolve(request.query("sha").unwrap_or("main"), state);
    // Only without a head is git asked whether there is anything at all.
    if state.lags || (head.is_none() && is_empty(state)) {
        return recorded("409-empty-commits");
    }
    let Some(head) = head else {
        return recorded("commits-sha-none");
    };
    let number = |key, otherwise| {
        request
            .query(key)
            .map_or(otherwise, |text| text.parse().unwrap())
    };
    let limit: usize = number("limit", 30).min(state.page_cap);
    let page: usize = if state.repeats_first_page {
        1
    } else {
        number("page", 1)
    };
    let not = request.query("not").filter(|_| !state.passes_over_not);
    let mut histories = state.histories.borrow_mut();
    let history = histories
        .entry((head, not.map(str::to_owned)))
        .or_insert_with_key(|(head, not)| history(head, not.as_deref(), state));
    let total = history.len();
    let shown = history.iter().skip((page - 1) * limit).take(limit);
    let mut elements: Vec<Value> = shown.map(|line| commit(line, state)).collect();
    if state.nulls && !elements.is_empty() {
        elements.insert(0, Value::Null);
        elements.insert(1, json!({"sha": null, "parents": null}));
        elements.insert(2, json!({"commit": null}));
        elements.insert(3, json!({"sha": 7}));
        elements.insert(4, json!({"sha": "not a hash"}));
    }
    let body = match elements.is_empty() && state.nulls {
        true => Value::Null,
        false => Value::Array(elements),
    };
    let (status, mut headers, body) = ok(&body);
    let has_more = page * limit < total;
    headers += &format!(
        "X-Hasmore: {has_more}\r\nX-Page: {page}\r\nX-Pagecount: {}\r\nX-Perpage: {limit}\r\nX-Total: {total}\r\nX-Total-Count: {total}\r\n",
        total.div_ceil(limit)
    );
    if let Some(base) = &state.link_base {
        headers += &format!("Link: <{base}{API}{OWNER}/{NAME}/commits?page=2>; rel=\"next\"\r\n");
    }
    (status, headers, body)
}

/// The commits from `head` on that `not` does not have, a line each: hash, parents, subject. Those of one
/// commit are always the same, so they are listed once: a process for each page would be slow on a busy
/// machine.
fn history(head: &str, not: Option<&str>, state: &State) -> Vec<String> {
    let not = not.map(|not| format!("^{not}"));
    let mut words = vec!["log", "--format=%H%x09%P%x09%s", head];
    words.extend(not.as_deref());
    words.push("--");
    let log = git(&state.repository, &words);
    log.lines().map(str::to_owned).collect()
}

/// Hashes that do not count stand before and after the one that does.
fn commit(line: &str, state: &State) -> Value {
    let fields: Vec<&str> = line.split('\t').collect();
    let [hash, parents, subject] = fields[..] else {
        panic!("git log told {line:?}");
    };
    let parents: Vec<Value> = parents
        .split_whitespace()
        .map(|parent| json!({"url": null, "sha": parent, "created": "0001-01-01T00:00:00Z"}))
        .collect();
    let message = format!("{subject}\n{}", "x".repeat(state.message_bytes));
    json!({
        "url": format!("http://elsewhere.invalid/{hash}"),
        "sha": hash,
        "created": "2026-09-26T14:56:40Z",
        "html_url": format!("http://elsewhere.invalid/{hash}"),
        // The tree's hash is the commit's own, here.
        "commit": {"message": message, "tree": {"sha": hash, "url": null}, "verification": null, "sha": "cd".repeat(20)},
        "author": null,
        "committer": {"id": 1, "login": "test", "sha": "ef".repeat(20)},
        "parents": parents,
        "files": null,
        "stats": null,
    })
}
