//! Free ports of the loopback interface, and whether something answers there.

use anyhow::{Result, bail};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// A server that is starting may accept and not answer.
const ANSWER: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Below the ports that the kernel gives to those who name none.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The next port to look at; each is given out once.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// So many ports that nobody uses now, each another.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    let length = PORTS.end - PORTS.start;
    // Processes that look at the same time begin at different places.
    let begin = (u64::from(std::process::id()) * 97 % u64::from(length)) as u16;
    let mut ports = [0; N];
    let mut found = 0;
    while found < N {
        let tried = NEXT.fetch_add(1, Ordering::Relaxed);
        if tried >= length {
            bail!("no free port on 127.0.0.1 from {} to {}", PORTS.start, PORTS.end);
        }
        let port = PORTS.start + (begin + tried) % length;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports[found] = port;
            found += 1;
        }
    }
    Ok(ports)
}

/// What a server says to these bytes, until it closes the connection.
pub fn ask(port: u16, question: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A page of a web server.
pub fn get(port: u16, path: &str) -> Result<String> {
    ask(port, &format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n"))
}
