//! Which boot of the kernel this is: whether a power cut may lie between then and now.
//!
//! The kernel makes a new id at each boot, and none in between. As a service the shipper does not see
//! the kernel's file (`ProcSubset=pid`), so its unit passes the id on. The tests that cut a disk's power
//! while the kernel lives on say in the same way that they are another boot.

use std::env;
use std::fmt;
use std::fs;

/// Set by the unit.
const VARIABLE: &str = "CIS490_BOOT_ID";

/// One boot of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BootId(u128);

impl BootId {
    /// By the environment, else by the kernel; `None` if neither says.
    pub(super) fn current() -> Option<BootId> {
        let passed_on = env::var(VARIABLE).ok();
        if let Some(boot) = passed_on.and_then(|text| BootId::parse(&text)) {
            return Some(boot);
        }
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        BootId::parse(text.trim_end())
    }

    /// 32 hexadecimal digits, with or without the dashes of a UUID.
    pub(super) fn parse(text: &str) -> Option<BootId> {
        let digits = text.replace('-', "");
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits.len() != 32 || !is_hex {
            return None;
        }
        u128::from_str_radix(&digits, 16).ok().map(BootId)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_read_as_the_kernel_and_as_a_seal_write_it() {
        let boot = BootId::parse("0af13085-bf10-4d18-bbef-8422a5d4ecab").unwrap();
        assert_eq!(boot.to_string(), "0af13085bf104d18bbef8422a5d4ecab");
        assert_eq!(BootId::parse(&boot.to_string()), Some(boot));
        for bad in ["", "-", "0af13085", "+af13085bf104d18bbef8422a5d4ecab"] {
            assert_eq!(BootId::parse(bad), None, "{bad:?}");
        }
    }
}
