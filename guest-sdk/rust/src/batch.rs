//! The batch format of `proto/batch.md`: constants and raw columns. What an
//! element is, and who sends batches where, is not known here.

pub mod builder;
pub mod column;
pub mod hash;
pub mod layout;
pub mod reader;

/// The bytes `HDB1`.
pub const MAGIC: u32 = 0x3142_4448;
/// Flag: a timestamp section is present.
pub const TIMESTAMPS: u32 = 1;
/// Flag: a hash section is present.
pub const HASHES: u32 = 2;
/// Bytes before the directory.
pub const HEADER: usize = 24;
/// Bytes of a directory entry.
pub const ENTRY: usize = 8;
/// Bytes behind the last section that may be read, whatever they hold.
pub const PADDING: usize = 16;
/// Longest batch that the host takes.
pub const MAX_LENGTH: usize = 64 << 20;
/// Most records of a batch.
pub const MAX_ROWS: usize = 1 << 24;
