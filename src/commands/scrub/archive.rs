//! `cis490 scrub --archive`: the bucket against what is known of it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{EXIT_FOUND, Scrub};
use crate::commands::cli::folder;
use crate::commands::cli::progress::Progress;
use crate::commands::cli::receipts::each_receipt;
use crate::events::{self, logger};
use crate::failure::Failure;
use crate::human::counted;
use crate::receiver::archive::audit::{AuditKind, AuditNews, AuditSummary, audit};
use crate::receiver::config::Config;
use crate::terminal::{one_line, print, say};
use crate::wire::Receipt;

impl Scrub {
    /// Compares the bucket with what is known of it.
    pub(super) fn audit(self) -> Result<ExitCode, Failure> {
        let config = Config::load(&self.config)?;
        let Some(archive) = &config.archive else {
            return Err(Failure::new(
                format!("{} has no [archive]", self.config.display()),
                "etc/receiver.toml.example shows its keys",
            ));
        };
        let data_dir = self
            .data_dir
            .map_or(config.data_dir.clone(), folder::absolute);
        let mut secrets = config.secret_files();
        secrets.push(self.config.clone());
        let secrets: Vec<_> = secrets.iter().map(PathBuf::as_path).collect();
        folder::enter(&data_dir, &secrets)?;
        let each_row = |visit: &mut dyn FnMut(Receipt)| each_receipt(&data_dir, visit);
        let mut progress = Progress::new();
        let summary = audit(
            archive,
            &data_dir,
            &each_row,
            self.deep,
            &mut |news| match news {
                AuditNews::Read(bytes) => progress.add(bytes),
                AuditNews::Found { kind, slot, why } => {
                    progress.wipe();
                    show_audit_finding(kind, &slot.to_string(), why);
                }
            },
        );
        progress.wipe();
        let summary = summary?;
        let printed = print(&audit_summary(&summary, self.deep));
        if !summary.is_clean() {
            return Ok(ExitCode::from(EXIT_FOUND));
        }
        printed.map(|()| ExitCode::SUCCESS)
    }
}

fn show_audit_finding(kind: AuditKind, slot: &str, why: &str) {
    let kind = audit_word(kind);
    if logger::is_journal() {
        events::scrub_found(kind, slot, why);
    } else {
        say!("{kind}: {slot}: {}", one_line(why));
    }
}

fn audit_word(kind: AuditKind) -> &'static str {
    match kind {
        AuditKind::Lost => "lost",
        AuditKind::OtherBytes => "other bytes",
        AuditKind::Mismatch => "archive-mismatch",
    }
}

fn audit_summary(summary: &AuditSummary, is_deep: bool) -> String {
    let AuditSummary {
        objects,
        known,
        lost,
        other_bytes,
        mismatches,
    } = summary;
    let how = if is_deep { "read back" } else { "looked for" };
    let mut text = format!(
        "{} in the bucket, {} of this store {how}: ",
        counted(objects, "object"),
        counted(known, "episode")
    );
    if summary.is_clean() {
        return text + "all are there\n";
    }
    text += &format!("{lost} lost, {other_bytes} with other bytes, {mismatches} mismatched\n");
    if lost + other_bytes > 0 {
        text += "  lost, other bytes: a running receiver copies those again whose files are here; send the others again (on the lab host: cis490 resend NAME). Look at the store\n";
    }
    if *mismatches > 0 {
        text += "  archive-mismatch: two receivers were sent different bytes under one name; the receivers' receipts say which is whose\n";
    }
    text
}
