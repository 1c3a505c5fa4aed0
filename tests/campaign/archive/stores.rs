//! The real stores, alike: each has the bucket `lab`, and may be killed and started again.

use super::ceph::{self, Gateway};
use super::garage::Garage;
use super::juicefs::JuiceFs;

pub trait RealStore: Sync {
    fn name(&self) -> &'static str;
    fn endpoint(&self) -> String;
    fn region(&self) -> &'static str;
    /// The access key and the secret, which may do everything.
    fn keys(&self) -> (&'static str, &'static str);
    /// kill -9 of the program that answers.
    fn kill(&self);
    /// Starts it again; true when it answers.
    fn start_again(&self);
}

impl RealStore for Gateway {
    fn name(&self) -> &'static str {
        "ceph"
    }

    fn endpoint(&self) -> String {
        self.endpoint()
    }

    fn region(&self) -> &'static str {
        "us-east-1"
    }

    fn keys(&self) -> (&'static str, &'static str) {
        ceph::KEYS
    }

    fn kill(&self) {
        self.tell("kill");
    }

    fn start_again(&self) {
        self.tell("start");
    }
}

type Start = fn() -> Option<Box<dyn RealStore>>;

/// Shows each store that is there to `run`. `CIS490_STORE` picks one by its name.
pub fn each_store(run: impl Fn(&dyn RealStore)) {
    let wanted = std::env::var("CIS490_STORE").unwrap_or_default();
    let starts: [(&str, Start); 3] = [
        ("garage", || Some(Box::new(Garage::start()?))),
        ("ceph", || Some(Box::new(Gateway::start()?))),
        ("juicefs", || Some(Box::new(JuiceFs::start()?))),
    ];
    for (name, start) in starts {
        if name.contains(&wanted)
            && let Some(store) = start()
        {
            run(&*store);
        }
    }
}
