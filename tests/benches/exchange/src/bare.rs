//! The bare socket: blocking writes of the same buffer, blocking reads into
//! one. Nothing is faster over TCP without tricks of the kernel.

use crate::process::{Other, announce};
use crate::throughput::{BATCH, Measured};
use anyhow::Result;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

pub fn serve(seconds: f64) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    announce(listener.local_addr()?)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let batch = vec![7; BATCH];
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        stream.write_all(&batch)?;
    }
    drop(stream);
    // The reader ends this process, when it has seen what it cost.
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}

pub fn measure(seconds: &str) -> Result<Measured> {
    let other = Other::start(&["bare", seconds])?;
    let mut stream = TcpStream::connect(&other.address)?;
    let mut buffer = vec![0; BATCH];
    let before = other.processor_time()?;
    let began = Instant::now();
    let mut total = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            read => total += read as u64,
        }
    }
    Measured::new(total, began.elapsed(), other.processor_time()? - before)
}
