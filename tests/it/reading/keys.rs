//! What a receiver is configured with that is read from.

/// The test itself may read, from any of this machine's own addresses.
pub const READER: &str = "[[reader]]\nid = \"test\"\naddress = \"127.0.0.0/8\"\n";

/// Receivers of the tests ask no gate unless a test is about one.
pub const NO_GATE: &str = "\n[version_gate]\nenabled = false\n";
