//! A job that opens a connection from an operator.

use heddle::prelude::*;
use std::io::Read;
use std::net::TcpStream;

#[heddle::main]
pub fn main(env: &mut StreamExecutionEnvironment, _args: Args) -> heddle::Result<()> {
    env.from_sequence(0, 10)
        .map(|port| {
            let mut text = String::new();
            if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port as u16)) {
                let _ = stream.read_to_string(&mut text);
            }
            text
        })
        .discard();
    Ok(())
}
