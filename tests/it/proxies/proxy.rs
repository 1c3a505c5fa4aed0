//! A real nginx, Caddy or HAProxy as a child in a temporary folder, with the very configuration that
//! `etc/` has: only addresses and paths are put in, and what a test needs besides.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::PATIENCE;
use crate::here::{TempDir, find, has, has_tcp_info, own_address};
use crate::tls::authority::Authority;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    /// With `proxy_request_buffering on`, which is nginx's default.
    NginxBuffering,
    Caddy,
    Haproxy,
}

pub const KINDS: [Kind; 4] = [
    Kind::Nginx,
    Kind::NginxBuffering,
    Kind::Caddy,
    Kind::Haproxy,
];

/// Where the examples stand.
const RECEIVER: &str = "127.0.0.1:8490";
const CERTIFICATE: &str = "/etc/ssl/private/cis490.pem";
const KEY: &str = "/etc/ssl/private/cis490.key";

/// A running proxy, killed when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    /// What its certificate is vouched for by; `None` for one that speaks plain HTTP.
    authority: Option<Authority>,
    child: Child,
    dir: TempDir,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Kind::Nginx | Kind::NginxBuffering => "nginx",
            Kind::Caddy => "caddy",
            Kind::Haproxy => "haproxy",
        }
    }

    /// Whether the test can run: this machine has the proxy, and our program gets TCP_INFO. Without that
    /// a closing answer on a connection that a proxy has used before ends hard, and is slow. If not, says
    /// that the test is skipped.
    pub fn is_here(self, test: &str) -> bool {
        has_tcp_info(test) && has(test, self.program())
    }

    /// The proxy in front of `behind`, which may be more than a receiver's address where the kind
    /// knows such. `change` is what a test does to the configuration.
    pub fn start(
        self,
        is_tls: bool,
        behind: SocketAddr,
        change: impl Fn(String) -> String,
    ) -> Proxy {
        let dir = TempDir::new();
        let authority = is_tls.then(|| Authority::new("lab CA"));
        let address = own_address();
        let certificate = authority
            .as_ref()
            .map(|authority| authority.write_server(address.ip(), dir.path()));
        let config = self.configuration(dir.path(), address, certificate.as_ref());
        let config = change(config.replace(RECEIVER, &behind.to_string()));
        let file = dir.path().join("config");
        fs::write(&file, config).unwrap();
        let child = self.spawn(dir.path(), &file);
        let mut proxy = Proxy {
            address,
            authority,
            child,
            dir,
        };
        proxy.wait_until_it_listens();
        proxy
    }

    fn configuration(
        self,
        dir: &Path,
        address: SocketAddr,
        certificate: Option<&[PathBuf; 3]>,
    ) -> String {
        match self {
            Kind::Nginx | Kind::NginxBuffering => {
                let site = include_str!("../../../etc/nginx.conf.example");
                self.nginx(dir, &of_site(site, address, certificate))
            }
            Kind::Caddy => caddy(address, certificate),
            Kind::Haproxy => haproxy(address, certificate),
        }
    }

    /// The site in a whole configuration that needs nothing outside the folder. It lingers for long:
    /// a shipper that waits for the end of the connection is seen.
    fn nginx(self, dir: &Path, site: &str) -> String {
        let dir = dir.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {dir}/{kind};\n"))
            .concat();
        let site = match self {
            Kind::NginxBuffering => {
                site.replace("proxy_request_buffering off", "proxy_request_buffering on")
            }
            _ => site.to_owned(),
        };
        format!(
            "daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log stderr warn;\nevents {{}}\nhttp {{\naccess_log off;\nlingering_time 60s;\nlingering_timeout 60s;\n{temporary}{site}\n}}\n"
        )
    }

    fn spawn(self, dir: &Path, config: &Path) -> Child {
        let program = find(self.program()).expect("the test has asked whether it is here");
        let mut command = Command::new(program);
        match self {
            Kind::Nginx | Kind::NginxBuffering => {
                command.arg("-p").arg(dir).arg("-c").arg(config);
                command.args(["-e", "stderr"]);
            }
            Kind::Caddy => {
                command.args(["run", "--adapter", "caddyfile", "--config"]);
                command.arg(config);
            }
            Kind::Haproxy => {
                command.args(["-db", "-f"]).arg(config);
            }
        }
        command
            .env("HOME", dir)
            .env("XDG_DATA_HOME", dir)
            .env("XDG_CONFIG_HOME", dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap()
    }
}

/// An nginx site with what is put into it.
fn of_site(site: &str, address: SocketAddr, certificate: Option<&[PathBuf; 3]>) -> String {
    let tls = if certificate.is_some() { " ssl" } else { "" };
    let listen = format!("listen {address}{tls};");
    let site = put_in(site, "listen 443 ssl;", &listen);
    match certificate {
        Some([certificate, key, _]) => {
            let site = put_in(&site, CERTIFICATE, &certificate.display().to_string());
            put_in(&site, KEY, &key.display().to_string())
        }
        None => without_lines(&site, "ssl_certificate"),
    }
}

fn caddy(address: SocketAddr, certificate: Option<&[PathBuf; 3]>) -> String {
    let config = include_str!("../../../etc/Caddyfile.example");
    let config = put_in(config, "auto_https off", "auto_https off\n\tadmin off");
    let scheme = if certificate.is_some() {
        "https"
    } else {
        "http"
    };
    let site = format!("{scheme}://{address}");
    let config = put_in(&config, "https://pi.lan:443", &site);
    let files = format!("tls {CERTIFICATE} {KEY}");
    let bind = format!("bind {}", address.ip());
    match certificate {
        Some([certificate, key, _]) => {
            let files_here = format!("{bind}\n\ttls {certificate:?} {key:?}");
            put_in(&config, &files, &files_here)
        }
        None => put_in(&config, &files, &bind),
    }
}

fn haproxy(address: SocketAddr, certificate: Option<&[PathBuf; 3]>) -> String {
    let config = include_str!("../../../etc/haproxy.cfg.example");
    let bind = match certificate {
        Some([_, _, both]) => format!("bind {address} ssl crt {}", both.display()),
        None => format!("bind {address}"),
    };
    put_in(config, &format!("bind :443 ssl crt {CERTIFICATE}"), &bind)
}

/// `new` in the place of `old`, which must be there: the examples are not to change unseen.
pub fn put_in(config: &str, old: &str, new: &str) -> String {
    assert!(config.contains(old), "no {old:?} in\n{config}");
    config.replacen(old, new, 1)
}

fn without_lines(config: &str, with: &str) -> String {
    let lines = config.lines().filter(|line| !line.contains(with));
    lines.map(|line| format!("{line}\n")).collect()
}

impl Proxy {
    fn wait_until_it_listens(&mut self) {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let is_over = self.child.try_wait().unwrap().is_some() || Instant::now() > until;
            assert!(!is_over, "the proxy did not start\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}", self.address)
    }

    /// The CA of its certificate, in a file.
    pub fn ca_file(&self) -> Option<PathBuf> {
        let authority = self.authority.as_ref()?;
        Some(authority.write(self.dir.path()))
    }

    /// What a lab host's configuration needs to trust it.
    pub fn trusted(&self) -> String {
        self.ca_file()
            .map_or(String::new(), |file| format!("ca_file = {file:?}\n"))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
