//! `notified.json`: the findings whose beginning was reported, and whose end was not.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::receiver::data_dir::DataDir;
use crate::receiver::findings::Finding;
use crate::{durable, events};

const FILE: &str = "notified.json";
const FILE_BYTES_MAX: u64 = 4 << 20;

#[derive(Default, Serialize, Deserialize)]
struct Content {
    told: Vec<Finding>,
}

pub(super) struct ToldFile {
    path: PathBuf,
    /// The folder as it was at the start: nothing is written into another one.
    home: io::Result<DataDir>,
    /// The last write failed. The log says so once.
    in_trouble: bool,
}

impl ToldFile {
    pub(super) fn open(data_dir: &Path) -> ToldFile {
        ToldFile {
            path: data_dir.join(FILE),
            home: DataDir::open(data_dir),
            in_trouble: false,
        }
    }

    /// Empty if there is no such file, or none that can be read.
    pub(super) fn read(&self) -> Vec<Finding> {
        let text = durable::read_regular(&self.path, FILE_BYTES_MAX).unwrap_or_default();
        let content: Content = serde_json::from_slice(&text).unwrap_or_default();
        content.told
    }

    pub(super) fn write<'a>(&mut self, told: impl Iterator<Item = &'a Finding>) {
        let content = Content {
            told: told.cloned().collect(),
        };
        match self.try_write(&content) {
            Ok(()) => self.in_trouble = false,
            Err(error) => {
                if !self.in_trouble {
                    events::notified_unwritable(&self.path, &error);
                }
                self.in_trouble = true;
            }
        }
    }

    fn try_write(&self, content: &Content) -> io::Result<()> {
        let text = serde_json::to_vec(content)?;
        match &self.home {
            Ok(home) => home.check()?,
            Err(error) => return Err(error.kind().into()),
        }
        durable::publish(&self.path, &text)
    }
}
