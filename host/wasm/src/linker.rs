//! The guest's imports. Lists and strings are read in place, so that a guest
//! cannot make the host allocate, and every size is checked.

use crate::bindings::types::Level;
use crate::fault::{Fault, MESSAGE_MAX, PanicReport};
use crate::guest_log::{clean, cut};
use crate::host::{Emitted, LogLevel, TaskHost};
use crate::store::{StoreData, Wait, WaitReason};
use crate::wasi;
use heddle_model::failure::Failure;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use wasmtime::component::{Linker, WasmList, WasmStr};
use wasmtime::{Engine, StoreContextMut};

/// Accumulators in one call of `metrics.add`.
const METRICS_MAX: usize = 4096;
/// Bytes of the name of a state or an accumulator.
const NAME_MAX: usize = 1024;

/// A linker with the contract's imports and the granted form of WASI.
pub(crate) fn new_linker(
    engine: &Engine,
    real_clocks: bool,
    real_random: bool,
) -> wasmtime::Result<Linker<StoreData>> {
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker, real_clocks, real_random)?;
    link_output(&mut linker)?;
    link_state(&mut linker)?;
    link_timers(&mut linker)?;
    link_log(&mut linker)?;
    Ok(linker)
}

fn host_failure(failure: Failure) -> wasmtime::Error {
    wasmtime::Error::new(Fault::Host(failure))
}

/// Calls the host with the store beside it, so that slices of guest memory
/// can be passed on.
fn with_host<R>(
    store: &mut StoreContextMut<'_, StoreData>,
    call: impl FnOnce(&mut dyn TaskHost, &StoreContextMut<'_, StoreData>) -> wasmtime::Result<R>,
) -> wasmtime::Result<R> {
    let Some(mut host) = store.data_mut().host.take() else {
        wasmtime::bail!("the task's host is gone");
    };
    let result = call(&mut *host, store);
    store.data_mut().host = Some(host);
    result
}

/// Has no size, so that a box of it is no allocation.
struct Sent;

impl Future for Sent {
    type Output = wasmtime::Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}

/// While it lives, the call's future is pending because of a full channel.
struct EmitWait(Arc<WaitReason>);

impl EmitWait {
    fn new(reason: Arc<WaitReason>) -> Self {
        reason.set(Wait::Emit);
        Self(reason)
    }
}

impl Drop for EmitWait {
    fn drop(&mut self) {
        self.0.set(Wait::Wasi);
    }
}

type Sending<'a> = Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>;

fn link_output(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let mut output = linker.instance("heddle:operator/output@0.1.0")?;
    output.func_wrap_async(
        "emit",
        |mut store: StoreContextMut<'_, StoreData>,
         (output, channel, batch): (u32, u32, WasmList<u8>)|
         -> Sending<'_> {
            let emitted = with_host(&mut store, |host, store| {
                host.emit(output, channel, batch.as_le_slice(store)).map_err(host_failure)
            });
            match emitted {
                Ok(Emitted::Done) => Box::new(Sent),
                Ok(Emitted::Wait(room)) => {
                    store.data_mut().flush_log();
                    let reason = store.data().wait.clone();
                    Box::new(async move {
                        let _wait = EmitWait::new(reason);
                        room.await.map_err(host_failure)
                    })
                }
                Err(error) => Box::new(std::future::ready(Err(error))),
            }
        },
    )
}

fn link_state(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let mut state = linker.instance("heddle:operator/state@0.1.0")?;
    state.func_wrap(
        "register",
        |mut store: StoreContextMut<'_, StoreData>, (operator, name): (u32, WasmStr)| {
            with_host(&mut store, |host, store| {
                let name = name.to_str(store)?;
                check_name("state", &name)?;
                Ok((host.state_register(operator, &name).map_err(host_failure)?,))
            })
        },
    )?;
    state.func_wrap(
        "get-many",
        |mut store: StoreContextMut<'_, StoreData>, (state, keys): (u32, WasmList<u8>)| {
            with_host(&mut store, |host, store| {
                Ok((host.state_get_many(state, keys.as_le_slice(store)).map_err(host_failure)?,))
            })
        },
    )?;
    state.func_wrap(
        "put-many",
        |mut store: StoreContextMut<'_, StoreData>, (state, entries): (u32, WasmList<u8>)| {
            with_host(&mut store, |host, store| {
                host.state_put_many(state, entries.as_le_slice(store)).map_err(host_failure)
            })
        },
    )?;
    state.func_wrap(
        "scan",
        |mut store: StoreContextMut<'_, StoreData>, (state, cursor, max_bytes): (u32, u64, u32)| {
            with_host(&mut store, |host, _| {
                Ok((host.state_scan(state, cursor, max_bytes).map_err(host_failure)?,))
            })
        },
    )
}

fn link_timers(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let mut timers = linker.instance("heddle:operator/timers@0.1.0")?;
    for name in ["register-many", "delete-many"] {
        timers.func_wrap(
            name,
            |_: StoreContextMut<'_, StoreData>, _: (u32, bool, WasmList<u8>)| -> wasmtime::Result<()> {
                Err(Fault::contract("timers are not served by this version of Heddle"))
            },
        )?;
    }
    Ok(())
}

fn link_log(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    linker.instance("heddle:operator/metrics@0.1.0")?.func_wrap(
        "add",
        |mut store: StoreContextMut<'_, StoreData>, (values,): (WasmList<(WasmStr, i64)>,)| {
            if values.len() > METRICS_MAX {
                return Err(Fault::contract(format!(
                    "{} metrics at once; the limit is {METRICS_MAX}",
                    values.len()
                )));
            }
            let values: Vec<_> = values.iter(&mut store)?.collect::<wasmtime::Result<_>>()?;
            with_host(&mut store, |host, store| {
                let mut sums = Vec::with_capacity(values.len());
                for (name, value) in values {
                    let name = name.to_str(store)?;
                    check_name("metric", &name)?;
                    sums.push((name.into_owned(), value));
                }
                host.add_metrics(sums);
                Ok(())
            })
        },
    )?;
    linker.instance("heddle:operator/log@0.1.0")?.func_wrap(
        "write",
        |mut store: StoreContextMut<'_, StoreData>, (level, target, message): (Level, WasmStr, WasmStr)| {
            let level = match level {
                Level::Trace => LogLevel::Trace,
                Level::Debug => LogLevel::Debug,
                Level::Info => LogLevel::Info,
                Level::Warn => LogLevel::Warn,
                Level::Error => LogLevel::Error,
            };
            let target = target.to_str(&store)?;
            let message = message.to_str(&store)?;
            store.data().log.write(level, &target, &message);
            store.data_mut().flush_log();
            Ok(())
        },
    )?;
    type Report = (WasmStr, WasmStr, u32, u32, Option<WasmStr>, Option<u64>);
    linker.instance("heddle:operator/panic@0.1.0")?.func_wrap(
        "report",
        |mut store: StoreContextMut<'_, StoreData>,
         (message, file, line, column, operator, position): Report| {
            let text = |text: WasmStr, max| -> wasmtime::Result<String> {
                Ok(clean(&cut(&text.to_str(&store)?, max)))
            };
            let report = PanicReport {
                message: text(message, MESSAGE_MAX)?,
                file: text(file, NAME_MAX)?,
                line,
                column,
                operator: operator.map(|operator| text(operator, NAME_MAX)).transpose()?,
                position,
            };
            // The first report is the cause; a panic while panicking is not.
            store.data_mut().panic.get_or_insert(report);
            Ok(())
        },
    )
}

fn check_name(what: &str, name: &str) -> wasmtime::Result<()> {
    if name.len() > NAME_MAX {
        return Err(Fault::contract(format!(
            "the name of a {what} has {} bytes; the limit is {NAME_MAX}",
            name.len()
        )));
    }
    Ok(())
}
