//! A line in between, which cuts off and flips bits by chance.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::dice::Dice;

/// What a proxy does to the answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    Nothing,
    /// Cuts one answer in three somewhere.
    Cuts,
    /// Flips a bit of one answer in three somewhere behind its head.
    Flips,
}

/// Passes connections on to an address that may change.
pub struct Proxy {
    pub url: String,
    pub to: Arc<Mutex<SocketAddr>>,
    pub harm: Arc<Mutex<Harm>>,
}

impl Proxy {
    pub fn new(to: SocketAddr, seed: u64) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let proxy = Proxy {
            url,
            to: Arc::new(Mutex::new(to)),
            harm: Arc::new(Mutex::new(Harm::Nothing)),
        };
        let (to, harm) = (proxy.to.clone(), proxy.harm.clone());
        thread::spawn(move || {
            for (n, stream) in listener.incoming().flatten().enumerate() {
                let (to, harm) = (*to.lock().unwrap(), *harm.lock().unwrap());
                let dice = Dice::of(seed, n as u64);
                thread::spawn(move || pass(&stream, to, harm, dice));
            }
        });
        proxy
    }
}

/// A side that has gone ends the other one.
fn pass(client: &TcpStream, to: SocketAddr, harm: Harm, mut dice: Dice) {
    let Ok(server) = TcpStream::connect(to) else {
        return;
    };
    let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut into);
        let _ = into.shutdown(Shutdown::Write);
    });
    let at = match harm {
        Harm::Nothing => u64::MAX,
        _ if dice.one_in(3) => 600 + dice.below(40_000),
        _ => u64::MAX,
    };
    let (mut server, mut client) = (&server, client);
    let mut buffer = [0; 4096];
    let mut passed = 0_u64;
    while let Ok(count) = server.read(&mut buffer) {
        if count == 0 {
            break;
        }
        let mut part = &mut buffer[..count];
        if (passed..passed + count as u64).contains(&at) {
            let place = (at - passed) as usize;
            match harm {
                Harm::Cuts => part = &mut part[..place],
                Harm::Flips => part[place] ^= 4,
                Harm::Nothing => {}
            }
        }
        let cut = harm == Harm::Cuts && at < passed + count as u64;
        passed += count as u64;
        if client.write_all(part).is_err() || cut {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}
