//! Which path is which, and which methods each has. Pure.

use crate::names::{CommitHash, HostId};
use crate::receiver::refusal::Refusal;
use crate::refusal_table;
use crate::wire::{self, Slot};

/// What a path and method ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Upload(Slot),
    /// The rest of a broken upload, or how far it is.
    Resume(Slot),
    /// A lab host's report on its own queue.
    LabState(HostId),
    Receipt(Slot),
    /// The bytes of an episode.
    Tarball(Slot),
    /// Its query is judged in `list_query`.
    List,
    /// The small episodes of a page of the list. Its query is that of the list.
    Bundle,
    Gate,
    GateCommit(CommitHash),
    Health,
    Status,
    Metrics,
    Page,
    /// The page of one host.
    HostPage(HostId),
    /// The explanation of a refusal.
    Help(refusal_table::Kind),
    /// OPTIONS, of a path that has these methods.
    Options {
        allow: &'static str,
    },
}

/// The methods of a path that is read, and of an episode's.
pub(super) const READ: &str = "GET, HEAD, OPTIONS";
pub(super) const UPLOAD: &str = "PUT, GET, HEAD, OPTIONS";
/// The methods of a broken upload.
pub(super) const RESUME: &str = "HEAD, PATCH, OPTIONS";
/// Of a lab host's report.
pub(super) const REPORT: &str = "PUT, OPTIONS";

impl Route {
    /// `path` is judged on its raw bytes: nothing is decoded, so nothing can be smuggled in.
    pub(super) fn parse(method: &str, path: &str) -> Result<Route, Refusal> {
        let reads = matches!(method, "GET" | "HEAD");
        let reading = |route| match method {
            "GET" | "HEAD" => Ok(route),
            "OPTIONS" => Ok(Route::Options { allow: READ }),
            _ => Err(Refusal::MethodNotAllowed { allow: READ }),
        };
        if let Some(name) = path
            .strip_prefix(wire::EPISODES_PATH)
            .and_then(|rest| rest.strip_prefix('/'))
            .filter(|name| !name.is_empty())
        {
            // To upload to such a name stays what it is for every other: an episode that has the ending of
            // our own files.
            if method != "PUT"
                && let Some(name) = name.strip_suffix(wire::TARBALL_ENDING)
            {
                let slot = Slot::parse(name).map_err(Refusal::BadName)?;
                return reading(Route::Tarball(slot));
            }
            let slot = Slot::parse(name).map_err(Refusal::BadName)?;
            return match method {
                "PUT" => Ok(Route::Upload(slot)),
                "OPTIONS" => Ok(Route::Options { allow: UPLOAD }),
                _ if reads => Ok(Route::Receipt(slot)),
                _ => Err(Refusal::MethodNotAllowed { allow: UPLOAD }),
            };
        }
        if let Some(name) = path
            .strip_prefix(wire::UPLOADS_PATH)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            let slot = Slot::parse(name).map_err(Refusal::BadName)?;
            return match method {
                "HEAD" | "PATCH" => Ok(Route::Resume(slot)),
                "OPTIONS" => Ok(Route::Options { allow: RESUME }),
                _ => Err(Refusal::MethodNotAllowed { allow: RESUME }),
            };
        }
        if let Some(host) = host_of_report(path) {
            let host = HostId::parse(host).map_err(Refusal::BadName)?;
            return match method {
                "PUT" => Ok(Route::LabState(host)),
                "OPTIONS" => Ok(Route::Options { allow: REPORT }),
                _ => Err(Refusal::MethodNotAllowed { allow: REPORT }),
            };
        }
        if let Some(commit) = path.strip_prefix("/v1/gate/") {
            return reading(Route::GateCommit(
                CommitHash::parse(commit).map_err(Refusal::BadName)?,
            ));
        }
        if let Some(host) = path.strip_prefix(wire::HOST_PAGES_PATH) {
            return reading(Route::HostPage(
                HostId::parse(host).map_err(Refusal::BadName)?,
            ));
        }
        if let Some(reason) = path.strip_prefix(wire::HELP_PATH) {
            let kind = refusal_table::Kind::of(reason).ok_or_else(|| no_such_reason(reason))?;
            return reading(Route::Help(kind));
        }
        match path {
            wire::EPISODES_PATH => reading(Route::List),
            wire::BUNDLE_PATH => reading(Route::Bundle),
            wire::GATE_PATH => reading(Route::Gate),
            wire::HEALTH_PATH => reading(Route::Health),
            wire::STATUS_PATH => reading(Route::Status),
            wire::METRICS_PATH => reading(Route::Metrics),
            wire::PAGE_PATH => reading(Route::Page),
            _ => Err(Refusal::NotFound {
                what: format!(
                    "nothing is at this path; episodes are at {}/HOST/EPISODE, their list at {}, the small ones of a page of it at {}, broken uploads at {}/HOST/EPISODE, the gate at {} and {}/COMMIT, health at {}, the figures at {}, the same for Prometheus at {}, a page for people at {}, one of each host at {}HOST, the explanation of each refusal at {}REASON",
                    wire::EPISODES_PATH,
                    wire::EPISODES_PATH,
                    wire::BUNDLE_PATH,
                    wire::UPLOADS_PATH,
                    wire::GATE_PATH,
                    wire::GATE_PATH,
                    wire::HEALTH_PATH,
                    wire::STATUS_PATH,
                    wire::METRICS_PATH,
                    wire::PAGE_PATH,
                    wire::HOST_PAGES_PATH,
                    wire::HELP_PATH
                ),
            }),
        }
    }
}

fn no_such_reason(reason: &str) -> Refusal {
    let shown: String = reason.chars().take(40).collect();
    Refusal::NotFound {
        what: format!("no refusal is called {shown:?}; cis490 help refusals lists all"),
    }
}

/// The host in the path of a lab host's report.
fn host_of_report(path: &str) -> Option<&str> {
    let host = path.strip_prefix(wire::HOSTS_PATH)?.strip_prefix('/')?;
    host.strip_suffix(wire::LAB_STATE_ENDING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_exact() {
        for (method, path, want) in [
            ("PUT", "/v1/episodes/a/b", 0),
            ("GET", "/v1/episodes/a/b", 0),
            ("HEAD", "/v1/gate", 0),
            ("PUT", "/v1/hosts/lab-1/state", 0),
            ("OPTIONS", "/v1/hosts/lab-1/state", 0),
            ("GET", "/v1/hosts/lab-1/state", 405),
            ("PUT", "/v1/hosts/Lab/state", 400),
            ("PUT", "/v1/hosts//state", 400),
            ("PUT", "/v1/hosts/state", 404),
            ("PUT", "/v1/hosts/a/b/state", 400),
            ("PUT", "/v1/hosts/lab-1", 404),
            ("PUT", "/v1/hosts/lab-1/state/", 404),
            ("GET", "/v1/health", 0),
            ("GET", "/v1/status", 0),
            ("HEAD", "/v1/status", 0),
            ("OPTIONS", "/v1/status", 0),
            ("POST", "/v1/status", 405),
            ("PUT", "/v1/status", 405),
            ("GET", "/v1/status/", 404),
            ("GET", "/metrics", 0),
            ("HEAD", "/", 0),
            ("PUT", "/", 405),
            ("OPTIONS", "/", 0),
            ("OPTIONS", "/v1/episodes/a/b", 0),
            ("OPTIONS", "/nothing", 404),
            ("GET", "/hosts/lab-1", 0),
            ("HEAD", "/hosts/lab-1", 0),
            ("OPTIONS", "/hosts/lab-1", 0),
            ("PUT", "/hosts/lab-1", 405),
            ("DELETE", "/hosts/lab-1", 405),
            ("GET", "/hosts", 404),
            ("GET", "/hosts/", 400),
            ("GET", "/hosts/lab-1/", 400),
            ("GET", "/hosts/Lab", 400),
            ("GET", "/hosts/%6cab", 400),
            ("GET", "/hosts/..", 400),
            ("GET", "/help/taken", 0),
            ("HEAD", "/help/taken", 0),
            ("OPTIONS", "/help/taken", 0),
            ("PUT", "/help/taken", 405),
            ("GET", "/help", 404),
            ("GET", "/help/", 404),
            ("GET", "/help/Taken", 404),
            ("GET", "/help/taken/", 404),
            ("GET", "/help/%74aken", 404),
            ("GET", "/v1/", 404),
            ("GET", "/v1/episodes/", 404),
            ("GET", "/v1/episodes", 0),
            ("HEAD", "/v1/episodes", 0),
            ("OPTIONS", "/v1/episodes", 0),
            ("PUT", "/v1/episodes", 405),
            ("DELETE", "/v1/episodes", 405),
            ("GET", "/v1/episodes//", 400),
            ("GET", "//v1/episodes", 404),
            ("GET", "/v1//episodes", 404),
            ("GET", "/v1/./episodes", 404),
            ("GET", "/v1/episodes;a=b", 404),
            ("GET", "/v1/episodes%3f", 404),
            ("GET", "/v1/Episodes", 404),
            ("DELETE", "/v1/episodes/a/b", 405),
            ("PATCH", "/v1/episodes/a/b", 405),
            ("HEAD", "/v1/uploads/a/b", 0),
            ("PATCH", "/v1/uploads/a/b", 0),
            ("OPTIONS", "/v1/uploads/a/b", 0),
            ("GET", "/v1/uploads/a/b", 405),
            ("PUT", "/v1/uploads/a/b", 405),
            ("DELETE", "/v1/uploads/a/b", 405),
            ("HEAD", "/v1/uploads", 404),
            ("HEAD", "/v1/uploads/", 400),
            ("HEAD", "/v1/uploads/a", 400),
            ("HEAD", "/v1/uploads/a/b/c", 400),
            ("PATCH", "/v1/uploads/a/%62", 400),
            ("PATCH", "/v1/uploads/a/b.tar.zst", 400),
            ("PATCH", "/v1/uploads/../b", 400),
            ("PATCH", "/v1/uploads/A/b", 400),
            ("GET", "/v1/episodes/a/b.tar.zst", 0),
            ("HEAD", "/v1/episodes/a/b.tar.zst", 0),
            ("OPTIONS", "/v1/episodes/a/b.tar.zst", 0),
            ("DELETE", "/v1/episodes/a/b.tar.zst", 405),
            ("POST", "/v1/episodes/a/b.tar.zst", 405),
            ("PUT", "/v1/episodes/a/b.tar.zst", 400),
            ("GET", "/v1/episodes/a/.tar.zst", 400),
            ("GET", "/v1/episodes/a/b.tar.zst.tar.zst", 400),
            ("GET", "/v1/episodes/a/b.json.tar.zst", 400),
            ("GET", "/v1/episodes/a/b.zst", 400),
            ("GET", "/v1/episodes/a//b.tar.zst", 400),
            ("GET", "/v1/episodes/a/../b.tar.zst", 400),
            ("GET", "/v1/episodes/a/%62.tar.zst", 400),
            ("GET", "/v1/episodes/A/b.tar.zst", 400),
            ("GET", "/v1/episodes//a/b.tar.zst", 400),
            ("PUT", "/v1/gate", 405),
            ("PUT", "/v1/episodes/a", 400),
            ("PUT", "/v1/episodes/a/b/c", 400),
            ("PUT", "/v1/episodes/a/%62", 400),
            ("PUT", "/v1/episodes/../b", 400),
            ("GET", "/v1/gate/xyz", 400),
            ("GET", "/V1/gate", 404),
            ("GET", "//v1/gate", 404),
        ] {
            let status = Route::parse(method, path).map_or_else(|no| no.status(), |_| 0);
            assert_eq!(status, want, "{method} {path}");
        }
    }
}
