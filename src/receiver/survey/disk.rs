//! The figures of a store, read from its files.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Process, Survey};
use crate::receiver::config::Config;
use crate::receiver::lab_states::Reports;
use crate::receiver::refusal_log;
use crate::receiver::stats::StatsTables;
use crate::receiver::store::{index_path, rows};
use crate::{clock, durable};

/// The report on a store by its files alone: one pass over the whole index.
///
/// Errors: the index cannot be read.
pub(super) fn survey(config: &Config, process: Process) -> io::Result<Survey> {
    // Read before the index, so that an upload stored meanwhile still ends its host's refusal. If they
    // cannot be read, `cis490 refusals` says why, and the rest of the report is right without them.
    let refusals = refusal_log::read(&config.data_dir).unwrap_or_default();
    // A host that is configured and never came is shown as silent.
    let configured = config.hosts.iter().map(|rule| rule.id.clone());
    let mut tables = StatsTables::new(configured, usize::MAX, 0);
    count_rows(config, &mut tables)?;
    for mut refused in refusals {
        refused.after_seq = refused.after_seq.min(tables.last_seq);
        tables.recall(&Arc::new(refused));
    }
    Survey::of(config, process, &tables, &Reports::new())
}

fn count_rows(config: &Config, tables: &mut StatsTables) -> io::Result<()> {
    let file = match durable::open_regular(&index_path(&config.data_dir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let now_s = clock::unix_seconds(SystemTime::now());
    rows::each_row(&file, |line, brief| match brief {
        Some(brief) => tables.enter_at(&brief, line.offset, now_s),
        None if line.is_blank() => {}
        None => match rows::parse(line) {
            Ok(row) => tables.enter_at(&row.brief(), line.offset, now_s),
            // A last line without its newline may be one that is just being written.
            Err(_) if line.whole => tables.unreadable_rows += 1,
            Err(_) => {}
        },
    })?;
    tables.settle(|offset| rows::read_row(&file, offset))
}
