//! The lab's condition (design, section 14): what each side reports of itself and of the other.

mod config;
mod findings;
mod host;
mod notify;
pub mod reload;
mod state;
