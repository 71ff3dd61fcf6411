//! What goes wrong on a real YARN, with exact results after it. `HEDDLE_TEST_YARN`
//! names the folder of its configuration; `cargo xtask test` starts it with two
//! NodeManagers, and what is killed here is theirs.

mod faults;
mod memory;
mod world;
