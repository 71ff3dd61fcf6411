//! A wire that a test can cut, hold, or damage: it listens on another address
//! of this machine than the process behind it, at the same port.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Where processes behind a proxy say that they are reached. They listen on
/// 127.0.0.1.
pub const HOST: &str = "127.0.0.2";

/// Bytes by which a piece of a file is known on the wire.
const PIECE: usize = 32;

/// How two ends lose each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// Connections break, and no new one comes about.
    Cut,
    /// Connections stay, and nothing arrives.
    Hold,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Open,
    Parted(Parting),
    /// The test is over.
    Gone,
}

/// Which bytes are damaged: those of who connects, or those of who listens.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    Client,
    Server,
}

struct State {
    wire: Wire,
    connections: Vec<TcpStream>,
    /// Bytes that are still to pass before the ends are parted.
    to_pass: Option<(usize, Parting)>,
    /// How often a piece of the file is still to be damaged, of each end.
    to_damage: [u32; 2],
    pieces: Vec<Vec<u8>>,
}

impl State {
    fn set(&mut self, wire: Wire) {
        self.wire = wire;
        if matches!(wire, Wire::Parted(Parting::Cut) | Wire::Gone) {
            for connection in self.connections.drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes from one end to the other while both last.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, of: Of) {
        let mut buffer = vec![0; 256 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let mut state = self.state();
            if let Some((left, parting)) = state.to_pass {
                state.to_pass = left.checked_sub(read).map(|left| (left, parting));
                if state.to_pass.is_none() {
                    state.set(Wire::Parted(parting));
                }
            }
            while state.wire == Wire::Parted(Parting::Hold) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.to_damage[of as usize] > 0
                && let Some(place) = state.pieces.iter().find_map(|piece| {
                    buffer[..read].windows(PIECE).position(|window| window == piece.as_slice())
                })
            {
                state.to_damage[of as usize] -= 1;
                buffer[place] ^= 1;
            }
            drop(state);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
        let _ = from.shutdown(Shutdown::Read);
    }
}

/// Ends with the test: its connections break.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    accepting: Option<JoinHandle<()>>,
}

impl Proxy {
    /// In front of what listens, or will, at this port of 127.0.0.1.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind((HOST, port)).expect("the port is free");
        let state = State {
            wire: Wire::Open,
            connections: Vec::new(),
            to_pass: None,
            to_damage: [0; 2],
            pieces: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&listener, port, &shared))
        };
        Self { shared, port, accepting: Some(accepting) }
    }

    fn set(&self, wire: Wire) {
        self.shared.state().set(wire);
        self.shared.changed.notify_all();
    }

    /// Parts the ends once so many bytes have passed, until they are mended.
    pub fn part_after(&self, bytes: usize, parting: Parting) {
        self.shared.state().to_pass = Some((bytes, parting));
    }

    pub fn part(&self, parting: Parting) {
        self.set(Wire::Parted(parting));
    }

    pub fn parted(&self) -> bool {
        matches!(self.shared.state().wire, Wire::Parted(_))
    }

    pub fn mend(&self) {
        self.set(Wire::Open);
    }

    /// Changes one bit of the file whenever it passes, so often.
    pub fn damage(&self, of: Of, times: u32, file: &[u8]) {
        let mut state = self.shared.state();
        state.to_damage[of as usize] = times;
        // One of them lies within what is read at once.
        state.pieces = (1..8).map(|eighth| file[file.len() * eighth / 8..][..PIECE].to_vec()).collect();
    }

    /// How often it is still to be damaged.
    pub fn to_damage(&self, of: Of) -> u32 {
        self.shared.state().to_damage[of as usize]
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Wire::Gone);
        // It waits for a connection.
        let _ = TcpStream::connect((HOST, self.port));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, port: u16, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let wire = shared.state().wire;
        let client = match (wire, client) {
            (Wire::Gone, _) | (_, Err(_)) => return,
            (Wire::Parted(Parting::Cut), Ok(_)) => continue,
            (Wire::Open | Wire::Parted(Parting::Hold), Ok(client)) => client,
        };
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        for end in [&client, &server] {
            end.set_nodelay(true).expect("an option of a socket");
        }
        let again = |end: &TcpStream| end.try_clone().expect("a second handle of a socket");
        {
            let mut state = shared.state();
            if matches!(state.wire, Wire::Parted(Parting::Cut) | Wire::Gone) {
                continue;
            }
            state.connections.extend([again(&client), again(&server)]);
        }
        for (from, to, of) in [(again(&client), again(&server), Of::Client), (server, client, Of::Server)] {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || shared.pump(from, to, of));
        }
    }
}
