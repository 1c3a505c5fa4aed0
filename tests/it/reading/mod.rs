//! Reading what is stored: the bytes of an episode.

mod bytes;
