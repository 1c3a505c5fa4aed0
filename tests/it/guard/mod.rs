//! The connection guard of design section 7: framing, Expect, closing answers, limits, caps.

mod ends;
mod framing;
mod limits;
