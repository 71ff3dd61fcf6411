//! The compiler's process for the tests and measurements of this crate; the
//! `heddle` binary has the same as a hidden subcommand.

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_wasm::compile_main(std::env::args_os().skip(1))
}
