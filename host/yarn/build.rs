//! Generates the messages of `proto/hadoop`. Reads the files with `protox`, so
//! that no `protoc` need be installed.

use std::error::Error;

const PROTO: &str = "../../proto/hadoop";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTO}");
    let descriptors = protox::compile(["rpc.proto", "yarn.proto"], [PROTO])?;
    let mut config = prost_build::Config::new();
    // Passwords are not for logs: `token::Token` prints without them.
    config.skip_debug([".hadoop.rpc.Token"]);
    config.compile_fds(descriptors)?;
    Ok(())
}
