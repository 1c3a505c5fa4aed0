//! Users and groups as this machine has them.

use std::fs;
use std::sync::OnceLock;

/// A user of /etc/passwd. The users of a directory service are not there.
pub(super) struct Account {
    pub name: String,
    pub gid: u32,
}

impl Account {
    pub(super) fn of(uid: u32) -> Option<Account> {
        let text = fs::read_to_string("/etc/passwd").ok()?;
        text.lines().find_map(|line| Account::parse(line, uid))
    }

    fn parse(line: &str, uid: u32) -> Option<Account> {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let is_his = fields.nth(1)?.parse() == Ok(uid);
        let gid = fields.next()?.parse().ok()?;
        is_his.then_some(Account { name, gid })
    }

    /// The groups that the user is in besides his own, such as a recorder's.
    pub(super) fn more_groups(&self) -> Vec<u32> {
        let text = fs::read_to_string("/etc/group").unwrap_or_default();
        groups_of(&text, &self.name)
    }
}

/// The numbers of the groups that list `name`, by the text of /etc/group.
fn groups_of(text: &str, name: &str) -> Vec<u32> {
    let of_line = |line: &str| {
        let (group, members) = line.rsplit_once(':')?;
        let is_member = members.split(',').any(|member| member == name);
        let gid = group.rsplit(':').next()?.parse().ok()?;
        is_member.then_some(gid)
    };
    text.lines().filter_map(of_line).collect()
}

/// A user's own group; for a user without an account here, the group of the same number. The group of
/// his folder would be wrong: if root made the folder, it is root's group.
pub(crate) fn group_of(uid: u32) -> u32 {
    Account::of(uid).map_or(uid, |account| account.gid)
}

/// `cis490 (991)`, or the number alone.
pub(crate) fn name_of(uid: u32) -> String {
    match Account::of(uid) {
        Some(account) => format!("{} ({uid})", account.name),
        None => uid.to_string(),
    }
}

/// Whether a file's owner is root, or the substitute for all users outside this user namespace.
pub(super) fn is_root(id: u32) -> bool {
    static SUBSTITUTE: OnceLock<Option<u32>> = OnceLock::new();
    let substitute = SUBSTITUTE.get_or_init(|| {
        let all_are_here =
            fs::read_to_string("/proc/self/uid_map").map_or(true, |map| is_whole(&map));
        if all_are_here {
            return None;
        }
        let number = fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?;
        number.trim().parse().ok()
    });
    id == 0 || *substitute == Some(id)
}

/// Whether a `uid_map` contains all user numbers, as outside of any user namespace.
pub(super) fn is_whole(map: &str) -> bool {
    let words: Vec<&str> = map.split_whitespace().collect();
    words == ["0", "0", "4294967295"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_and_groups_are_read_as_the_system_has_them() {
        let line = "cis490:x:991:990::/var/lib/cis490:/usr/sbin/nologin";
        let account = Account::parse(line, 991).unwrap();
        assert_eq!((account.name.as_str(), account.gid), ("cis490", 990));
        for (line, uid) in [(line, 99), ("", 0), ("a:x", 0), ("a:x:b:c", 0)] {
            assert!(Account::parse(line, uid).is_none(), "{line}");
        }
        let groups = "lab:x:100:eve,cis490\nroot:x:0:\ncis490s:x:7:acis490\nlast:x:8:cis490\n";
        assert_eq!(groups_of(groups, "cis490"), [100, 8]);
    }

    #[test]
    fn a_namespace_of_some_users_is_told_from_the_machines_own() {
        assert!(is_whole("         0          0 4294967295\n"));
        assert!(!is_whole("         0       1000          1\n"));
        assert!(!is_whole(""));
    }
}
