//! Generates the messages and services of `proto/rpc`. Reads the files with
//! `protox`, so that no `protoc` need be installed.

use std::error::Error;

const PROTO: &str = "../../proto/rpc";

fn main() -> Result<(), Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(PROTO)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "proto") {
            files.push(path);
        }
    }
    files.sort();
    println!("cargo::rerun-if-changed={PROTO}");
    let descriptors = protox::compile(&files, [PROTO])?;
    tonic_prost_build::configure()
        // Connections are made and accepted by hand.
        .build_transport(false)
        // Chunks of blobs are slices of what is there already.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
