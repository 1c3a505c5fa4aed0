//! The lab's condition (design, section 14): what each side reports of itself and of the other.

mod config;
mod host;
mod reload;
mod state;
