//! WASI for guests: nothing of the machine shows unless it was granted.
//! Clocks stand still, randomness is a seeded sequence, there are no files,
//! no sockets and no environment; what is printed goes to the task's log.

use crate::guest_log::{GuestLog, Stream};
use crate::store::StoreData;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random};
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamError, StreamResult, subscribe};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_io::bindings::wasi::io;

/// Handles that a guest may have open: streams, pollables.
const RESOURCES_MAX: usize = 1024;
/// Bytes of one write to standard output.
const WRITE_MAX: usize = 64 << 10;
/// Random bytes of one call.
const RANDOM_MAX: u64 = 1 << 20;

/// What a guest that uses WASI costs beside its memory.
pub(crate) struct WasiState {
    ctx: WasiCtx,
    table: ResourceTable,
}

impl StoreData {
    fn wasi(&mut self) -> &mut WasiState {
        if self.wasi.is_none() {
            let mut builder = WasiCtx::builder();
            builder.stdout(LogStream { log: self.log.clone(), stream: Stream::Stdout });
            builder.stderr(LogStream { log: self.log.clone(), stream: Stream::Stderr });
            builder.max_random_size(RANDOM_MAX);
            if !self.grants.clocks {
                builder.wall_clock(StillClock { wall_ms: self.wall_clock_ms });
                builder.monotonic_clock(StillClock { wall_ms: self.wall_clock_ms });
            }
            let mut table = ResourceTable::new();
            table.set_max_capacity(RESOURCES_MAX);
            self.wasi = Some(Box::new(WasiState { ctx: builder.build(), table }));
        }
        self.wasi.as_mut().expect("made above")
    }
}

impl WasiView for StoreData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let wasi = self.wasi();
        WasiCtxView { ctx: &mut wasi.ctx, table: &mut wasi.table }
    }
}

/// Both clocks without the grant `clocks`.
struct StillClock {
    wall_ms: u64,
}

impl HostWallClock for StillClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.wall_ms)
    }
}

impl HostMonotonicClock for StillClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}

/// A sequence that depends on its seed only (SplitMix64).
pub(crate) struct RandomSequence {
    state: u64,
}

impl RandomSequence {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        if length > RANDOM_MAX {
            wasmtime::bail!("{length} random bytes at once; the limit is {RANDOM_MAX}");
        }
        let mut bytes = Vec::with_capacity(length as usize + 8);
        while (bytes.len() as u64) < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length as usize);
        Ok(bytes)
    }
}

impl random::random::Host for RandomSequence {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(length)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.next())
    }
}

impl random::insecure::Host for RandomSequence {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(length)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.next())
    }
}

impl random::insecure_seed::Host for RandomSequence {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.next(), self.next()))
    }
}

/// Where standard output and error end.
struct LogStream {
    log: Arc<GuestLog>,
    stream: Stream,
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI preview 3 asks for it, and that is off.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(LogStream { log: self.log.clone(), stream: self.stream })
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > WRITE_MAX {
            return Err(StreamError::trap("more bytes than `check-write` allowed"));
        }
        self.log.write_stream(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX)
    }
}

/// A pollable that is ready: sleeping takes no time when clocks stand still.
struct Ready;

#[async_trait::async_trait]
impl Pollable for Ready {
    async fn ready(&mut self) {}
}

/// The monotonic clock without the grant `clocks`.
pub(crate) struct StillMonotonic<'a> {
    table: &'a mut ResourceTable,
}

impl clocks::monotonic_clock::Host for StillMonotonic<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(0)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1_000_000)
    }

    fn subscribe_instant(&mut self, _when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let ready = self.table.push(Ready)?;
        subscribe(self.table, ready)
    }

    fn subscribe_duration(&mut self, _duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let ready = self.table.push(Ready)?;
        subscribe(self.table, ready)
    }
}

struct HasStillMonotonic;

impl HasData for HasStillMonotonic {
    type Data<'a> = StillMonotonic<'a>;
}

struct HasRandomSequence;

impl HasData for HasRandomSequence {
    type Data<'a> = &'a mut RandomSequence;
}

struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links the part of WASI that every guest has, in the granted form.
pub(crate) fn link(
    linker: &mut Linker<StoreData>,
    real_clocks: bool,
    real_random: bool,
) -> wasmtime::Result<()> {
    let l = linker;
    io::error::add_to_linker::<_, HasTable>(l, |data| &mut data.wasi().table)?;
    io::poll::add_to_linker::<_, HasTable>(l, |data| &mut data.wasi().table)?;
    io::streams::add_to_linker::<_, HasTable>(l, |data| &mut data.wasi().table)?;
    cli::exit::add_to_linker::<_, WasiCli>(l, StoreData::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(l, StoreData::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(l, StoreData::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(l, StoreData::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(l, StoreData::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, StoreData::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, StoreData::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, StoreData::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, StoreData::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, StoreData::cli)?;
    clocks::wall_clock::add_to_linker::<_, WasiClocks>(l, StoreData::clocks)?;
    if real_clocks {
        clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(l, StoreData::clocks)?;
    } else {
        clocks::monotonic_clock::add_to_linker::<_, HasStillMonotonic>(l, |data| StillMonotonic {
            table: &mut data.wasi().table,
        })?;
    }
    if real_random {
        random::random::add_to_linker::<_, WasiRandom>(l, StoreData::random)?;
        random::insecure::add_to_linker::<_, WasiRandom>(l, StoreData::random)?;
        random::insecure_seed::add_to_linker::<_, WasiRandom>(l, StoreData::random)?;
    } else {
        random::random::add_to_linker::<_, HasRandomSequence>(l, |data| &mut data.random)?;
        random::insecure::add_to_linker::<_, HasRandomSequence>(l, |data| &mut data.random)?;
        random::insecure_seed::add_to_linker::<_, HasRandomSequence>(l, |data| &mut data.random)?;
    }
    // The standard libraries of languages import these always. Without a
    // folder that is open there is nothing that they could reach.
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, StoreData::filesystem)?;
    filesystem::types::add_to_linker::<_, WasiFilesystem>(l, StoreData::filesystem)?;
    Ok(())
}
