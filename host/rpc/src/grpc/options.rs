//! What a process listens on, and what it allows.

use super::introduction::{Identity, Role};
use heddle_model::config::value::PortRange;
use heddle_model::config::{Configuration, options as o};
use std::time::Duration;

/// What is allowed of messages and connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long an answer may take.
    pub ask_timeout: Duration,
    /// Longest message, in bytes.
    pub max_message_size: usize,
    /// Connections of others that may be open.
    pub max_connections: usize,
    /// How long an accepted connection may take until it speaks.
    pub handshake_timeout: Duration,
    /// How often a silent connection is asked whether its other end lives, and
    /// how long that one may take to say so.
    pub keep_alive_interval: Duration,
}

impl Limits {
    pub fn from_configuration(configuration: &Configuration) -> Self {
        // A time of nothing would end everything.
        let time = |time: Duration| time.max(Duration::from_millis(1));
        Self {
            ask_timeout: time(configuration.get(&o::RPC_ASK_TIMEOUT)),
            max_message_size: usize::try_from(configuration.get(&o::RPC_MAX_MESSAGE_SIZE).0)
                .unwrap_or(usize::MAX),
            max_connections: configuration.get(&o::RPC_MAX_CONNECTIONS).get() as usize,
            handshake_timeout: time(configuration.get(&o::RPC_HANDSHAKE_TIMEOUT)),
            keep_alive_interval: time(configuration.get(&o::RPC_KEEP_ALIVE_INTERVAL)),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub identity: Identity,
    pub limits: Limits,
    /// A name or an IP address of this machine; `0.0.0.0` for all.
    pub bind_host: String,
    /// The option that sets it, for messages.
    pub bind_host_option: &'static str,
    /// Tried in order; the first free one is taken.
    pub ports: PortRange,
    /// The option that sets them, for messages.
    pub ports_option: &'static str,
    /// Under which others reach it.
    pub advertised_host: String,
}

impl Options {
    pub fn job_manager(configuration: &Configuration, cluster_id: Option<String>) -> Self {
        Self {
            identity: Identity::new(Role::JobManager, cluster_id),
            limits: Limits::from_configuration(configuration),
            bind_host: configuration.get(&o::JOB_MANAGER_BIND_HOST),
            bind_host_option: o::JOB_MANAGER_BIND_HOST.key(),
            ports: configuration.get(&o::JOB_MANAGER_RPC_PORT),
            ports_option: o::JOB_MANAGER_RPC_PORT.key(),
            advertised_host: configuration.get(&o::JOB_MANAGER_RPC_ADDRESS),
        }
    }

    /// `advertised_host` for a configuration that does not tell it.
    pub fn task_executor(
        configuration: &Configuration,
        cluster_id: Option<String>,
        advertised_host: impl FnOnce() -> String,
    ) -> Self {
        Self {
            identity: Identity::new(Role::TaskExecutor, cluster_id),
            limits: Limits::from_configuration(configuration),
            bind_host: configuration.get(&o::TASK_EXECUTOR_BIND_HOST),
            bind_host_option: o::TASK_EXECUTOR_BIND_HOST.key(),
            ports: configuration.get(&o::TASK_EXECUTOR_RPC_PORT),
            ports_option: o::TASK_EXECUTOR_RPC_PORT.key(),
            advertised_host: configuration.get(&o::TASK_EXECUTOR_HOST).unwrap_or_else(advertised_host),
        }
    }
}
