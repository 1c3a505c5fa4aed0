//! The connection guard of design section 7: framing, Expect, closing answers, limits, caps.

mod ends;
mod framing;
mod limits;

use crate::client::{Client, Put};
use crate::world::World;

/// An upload that is under way: its connection, and the byte that is still to be sent.
fn all_but_a_byte(world: &World, put: &Put) -> (Client, Vec<u8>) {
    let mut bytes = put.bytes();
    let last_byte = bytes.split_off(bytes.len() - 1);
    let mut client = world.client();
    client.send(&bytes).unwrap();
    world.wait_until("the upload is under way", |world| {
        world.names("incoming").len() == 1
    });
    (client, last_byte)
}
