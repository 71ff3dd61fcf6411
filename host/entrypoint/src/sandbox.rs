//! The sandbox as the configuration asks for it: where compiled components are
//! kept, which program compiles, what a component is granted.

use crate::{internal, invalid};
use heddle_model::config::value::Preemption;
use heddle_model::config::{Configuration, Origin, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_wasm::{CompileLimits, CompilerCommand, Grants, Options, Runtime};
use std::path::PathBuf;
use std::time::Duration;

/// The hidden subcommand of `heddle` that compiles.
const COMPILE_SUBCOMMAND: &str = "compile-component";
/// A component's code may become this many times as long as the component.
const ARTEFACT_RATIO: u64 = 8;
/// How often busy guests are looked after.
const EPOCH_TICK: Duration = Duration::from_millis(10);

/// The engine of this process, and what its components may use.
#[derive(Clone)]
pub struct Sandbox {
    pub runtime: Runtime,
    pub grants: Grants,
}

impl Sandbox {
    /// Sets up the engine for as many instances as a TaskExecutor may have.
    ///
    /// # Errors
    /// H1201 for a grant that does not exist, or a cache folder that cannot be
    /// used.
    pub fn open(configuration: &Configuration) -> Result<Self, Failure> {
        Self::with_instances(configuration, configuration.get(&o::MAX_INSTANCES).get())
    }

    /// The same for a process that asks programs for their plans and runs no
    /// task: a pool of thousands of stacks takes 10 ms to set up.
    ///
    /// # Errors
    /// As [`Sandbox::open`].
    pub fn for_planning(configuration: &Configuration) -> Result<Self, Failure> {
        Self::with_instances(configuration, 1)
    }

    fn with_instances(configuration: &Configuration, max_instances: u32) -> Result<Self, Failure> {
        let grants = grants(configuration)?;
        let program = std::env::current_exe()
            .map_err(|error| internal(format!("cannot find the program's own file: {error}")))?;
        let compiler = CompilerCommand { program, arguments: vec![COMPILE_SUBCOMMAND.to_owned()] };
        let component_size = configuration.get(&o::MAX_COMPONENT_SIZE).0;
        let options = Options {
            preemption: match configuration.get(&o::PREEMPTION) {
                Preemption::Epoch => heddle_wasm::Preemption::Epoch,
                Preemption::None => heddle_wasm::Preemption::None,
            },
            max_instances,
            max_stack_size: configuration.get(&o::MAX_STACK_SIZE).0,
            compile_limits: CompileLimits {
                time: configuration.get(&o::COMPILE_TIMEOUT),
                memory: configuration.get(&o::COMPILE_MEMORY).0,
                component_size,
                artefact_size: component_size.saturating_mul(ARTEFACT_RATIO),
            },
            epoch_tick: EPOCH_TICK,
            ..Options::new(cache_dir(configuration)?, compiler)
        };
        let runtime = Runtime::new(options).map_err(|error| {
            let failure = error.failure();
            // Of all of it only the cache depends on where the process runs.
            if failure.code != ErrorCode::ConfigurationInvalid {
                return failure;
            }
            let message = format!(
                "{}; set `{}` to a folder of your own that can be written (from {})",
                failure.message,
                o::CACHE_DIR.key(),
                cache_origin(configuration),
            );
            Failure { message, ..failure }
        })?;
        Ok(Self { runtime, grants })
    }
}

/// What components are granted.
///
/// # Errors
/// H1201: there is no such grant.
pub fn grants(configuration: &Configuration) -> Result<Grants, Failure> {
    configuration.get(&o::GRANTS).join(";").parse::<Grants>().map_err(|error| {
        let origin = configuration.origin(&o::GRANTS);
        invalid(format!("configuration `{}`: {error} (from {origin})", o::GRANTS.key()))
    })
}

/// Where compiled components are kept: the configured folder, else one in the
/// user's cache folder, else one of the user's own in the system's temporary
/// one.
///
/// # Errors
/// H1201: the configured one is an empty text.
pub fn cache_dir(configuration: &Configuration) -> Result<PathBuf, Failure> {
    match configuration.get(&o::CACHE_DIR) {
        Some(folder) if folder.is_empty() => Err(invalid(format!(
            "configuration `{}` is empty (from {}); name a folder, or leave it out",
            o::CACHE_DIR.key(),
            configuration.origin(&o::CACHE_DIR),
        ))),
        Some(folder) => Ok(folder.into()),
        None => Ok(user_cache().map_or_else(temporary_cache, |(folder, _)| folder.join("heddle/components"))),
    }
}

/// The user's cache folder and the variable that says where it is. A home that
/// is not there is none: accounts of services have such.
fn user_cache() -> Option<(PathBuf, &'static str)> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let configured = variable("XDG_CACHE_HOME").map(|folder| (folder, "XDG_CACHE_HOME"));
    let home = || variable("HOME").filter(|home| home.is_dir());
    configured.or_else(|| home().map(|home| (home.join(".cache"), "HOME")))
}

/// In a folder for everybody each user has one of their own, directly there:
/// one that stands below another user's could be exchanged.
fn temporary_cache() -> PathBuf {
    let user = rustix::process::geteuid().as_raw();
    std::env::temp_dir().join(format!("heddle-components-{user}"))
}

fn cache_origin(configuration: &Configuration) -> String {
    match configuration.origin(&o::CACHE_DIR) {
        Origin::Default => match user_cache() {
            Some((_, variable)) => format!("environment variable {variable}"),
            None => "the system's temporary folder".to_owned(),
        },
        configured => configured.to_string(),
    }
}
