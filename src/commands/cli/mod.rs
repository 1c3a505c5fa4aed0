//! What the commands have in common, and no command of its own: the command line, the configuration
//! and the folder that a command works with, and how it reports progress and failures.

pub(crate) mod chosen;
pub(crate) mod command_line;
pub(crate) mod configuration;
pub(crate) mod folder;
pub(crate) mod progress;
pub(crate) mod receipts;
pub(crate) mod refusals_manual;
pub(crate) mod report;
