//! The types of `rustls_client` in a build without TLS. They have no values.

use std::convert::Infallible;
use std::io::{self, Read, Write};

use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;

use super::Fault;

#[derive(Clone, Debug)]
pub struct Trust(Infallible);

impl Trust {
    pub fn new(_: &[u8]) -> Result<Trust, String> {
        Err("this build does not speak TLS".to_owned())
    }
    pub fn session(&self, _: &str) -> io::Result<Session> {
        match self.0 {}
    }
    pub fn for_ureq(&self, _: ConfigBuilder<AgentScope>) -> ConfigBuilder<AgentScope> {
        match self.0 {}
    }
    pub fn fault(_: &ureq::Error) -> Option<Fault> {
        None
    }
}

#[derive(Debug)]
pub struct Session(Infallible);

impl Session {
    pub fn is_shaking_hands(&self) -> bool {
        match self.0 {}
    }
    pub fn has_to_push(&self) -> bool {
        match self.0 {}
    }
    pub fn seal(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }
    pub fn push(&mut self, _: &mut impl Write) -> io::Result<()> {
        match self.0 {}
    }
    pub fn pull(&mut self, _: &mut impl Read) -> io::Result<usize> {
        match self.0 {}
    }
    pub fn take(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}
