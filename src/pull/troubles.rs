//! The troubles that a pull reports: the first few in words, and how many there are. A receiver may
//! list more of them than the memory of this machine holds.

/// How many are kept in words.
const KEPT_MAX: usize = 20;

/// Troubles of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Troubles {
    first: Vec<String>,
    count: u64,
}

impl Troubles {
    pub(super) fn add(&mut self, words: String) {
        self.count += 1;
        if self.first.len() < KEPT_MAX {
            self.first.push(words);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A line for each of the first, and one that says how many there are more.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let more = self.count - self.first.len() as u64;
        let last = (more > 0).then(|| format!("and {more} more"));
        self.first.iter().cloned().chain(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_named_and_all_are_counted() {
        let mut troubles = Troubles::default();
        assert!(troubles.is_empty() && troubles.lines().next().is_none());
        for number in 0..KEPT_MAX + 3 {
            troubles.add(number.to_string());
        }
        let lines: Vec<String> = troubles.lines().collect();
        assert_eq!(lines.len(), KEPT_MAX + 1);
        assert_eq!((&*lines[0], &*lines[KEPT_MAX]), ("0", "and 3 more"));
    }
}
