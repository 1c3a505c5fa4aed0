//! Pages of the list whose tarballs are under way, and what the work of each came to.

use std::collections::VecDeque;

use super::row::Row;

/// One row whose tarball has no receipt or no file.
pub(super) struct Work {
    pub row: Row,
    /// A file stands under its name, of the right length and without a receipt.
    pub is_there: bool,
}

/// A row of a page under way.
pub(super) struct Task {
    pub row: Row,
    /// As [`Work::is_there`].
    pub is_there: bool,
    /// The number of its page.
    page: u64,
}

/// What the work of a page came to.
#[derive(Default)]
pub(super) struct Done {
    pub here: Vec<Row>,
    pub missing: Vec<(Row, String)>,
    pub in_the_way: Vec<(Row, String)>,
}

/// The pages that are under way, the oldest first.
#[derive(Default)]
pub(super) struct Pages {
    under_way: VecDeque<PageWork>,
    /// How many have ended.
    ended: u64,
}

struct PageWork {
    /// Tasks that have not ended.
    left: usize,
    done: Done,
}

impl Pages {
    /// The tasks of a new page.
    pub(super) fn begin(&mut self, work: Vec<Work>) -> Vec<Task> {
        let page = self.ended + self.under_way.len() as u64;
        self.under_way.push_back(PageWork {
            left: work.len(),
            done: Done::default(),
        });
        let task = |Work { row, is_there }| Task {
            row,
            is_there,
            page,
        };
        work.into_iter().map(task).collect()
    }

    /// How many have not ended.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// How many tasks of all of them have not ended.
    pub(super) fn tasks_left(&self) -> usize {
        self.under_way.iter().map(|page| page.left).sum()
    }

    /// What the oldest page came to, if all of its tasks have ended.
    pub(super) fn next_done(&mut self) -> Option<Done> {
        if self.under_way.front()?.left > 0 {
            return None;
        }
        self.ended += 1;
        self.under_way.pop_front().map(|page| page.done)
    }

    /// The file of the task is on the disk, and has its receipt.
    pub(super) fn here(&mut self, task: Task) {
        self.end_one(task.page).here.push(task.row);
    }

    /// The receiver does not give it.
    pub(super) fn missing(&mut self, task: Task, why: String) {
        self.end_one(task.page).missing.push((task.row, why));
    }

    /// Something else stands under its name.
    pub(super) fn in_the_way(&mut self, task: Task, why: String) {
        self.end_one(task.page).in_the_way.push((task.row, why));
    }

    /// One more task of the page has ended.
    fn end_one(&mut self, page: u64) -> &mut Done {
        // A page is under way for as long as it has tasks.
        let page = &mut self.under_way[(page - self.ended) as usize];
        page.left -= 1;
        &mut page.done
    }
}
