//! What must hold for any bytes that a guest or another server hands over. Each target takes an
//! input of any content and panics where the host would be wrong; it knows
//! nothing of how inputs are made, so that another fuzzer can drive it too.

pub mod batch;
pub mod hadoop;
pub mod state;

/// A decoder under test.
pub struct Target {
    pub name: &'static str,
    /// Inputs to start from.
    pub seeds: fn() -> anyhow::Result<Vec<Vec<u8>>>,
    /// Runs one input. The text says what became of it; inputs that differ in
    /// that are worth keeping.
    pub run: fn(&[u8]) -> String,
}

pub const TARGETS: [Target; 3] = [
    Target { name: "batch", seeds: batch::seeds, run: batch::run },
    Target { name: "hadoop", seeds: hadoop::seeds, run: hadoop::run },
    Target { name: "state", seeds: state::seeds, run: state::run },
];
