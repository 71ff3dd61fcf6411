//! What a subtask offers its guest. The task executor implements it; this
//! crate calls it from within the guest's imports.

use heddle_model::failure::Failure;
use std::future::Future;
use std::pin::Pin;

/// What became of an emitted batch.
pub enum Emitted {
    /// It was taken.
    Done,
    /// It was copied, and the guest sleeps until the channel has room again.
    Wait(Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// The other side of the guest's imports. Every slice is guest memory read in
/// place, of any content: implementations validate. A `Failure` ends the
/// instance and is what its call returns.
pub trait TaskHost: Send + 'static {
    /// A batch for an output; `channel` is `u32::MAX` for all channels.
    fn emit(&mut self, output: u32, channel: u32, batch: &[u8]) -> Result<Emitted, Failure>;
    /// Gives the id of a state of an operator.
    fn state_register(&mut self, operator: u32, name: &str) -> Result<u32, Failure>;
    /// Keys in, values out, in the form that the contract describes.
    fn state_get_many(&mut self, state: u32, keys: &[u8]) -> Result<Vec<u8>, Failure>;
    fn state_put_many(&mut self, state: u32, entries: &[u8]) -> Result<(), Failure>;
    /// Entries from `cursor` on, and where to go on.
    fn state_scan(
        &mut self,
        state: u32,
        cursor: u64,
        max_bytes: u32,
    ) -> Result<(Vec<u8>, Option<u64>), Failure>;
    fn add_metrics(&mut self, values: Vec<(String, i64)>);
    /// A line of the guest's log, its standard output (target `stdout`) or
    /// its standard error (`stderr`); rate-limited and cut already.
    fn log(&mut self, level: LogLevel, target: &str, message: &str);
}
