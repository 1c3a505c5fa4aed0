//! The connections of those that send large bodies: the shipper to the receiver, and the archive to its store.
//!
//! 1. An answer that comes before the body is sent is heard, and ends the sending.
//! 2. ureq stays the client above them.

mod interim;
mod resolver;
mod socket;
mod ureq_transport;

use std::fmt::Debug;
use std::io;

pub(crate) use self::resolver::LastingResolver;
pub(crate) use self::socket::{EarlyResponse, Socket};
pub(crate) use self::ureq_transport::{CONNECT_WAIT, Exchange, UreqConnector};

/// Is called before each wait of a connection and every fraction of a second within.
pub(crate) trait Attendant: Debug + Send + Sync {
    /// Errors: nothing more is to be waited for, and why.
    fn attend(&self) -> io::Result<()>;
}

/// For connections that end with the process.
#[derive(Debug)]
pub(crate) struct Unattended;

impl Attendant for Unattended {
    fn attend(&self) -> io::Result<()> {
        Ok(())
    }
}
