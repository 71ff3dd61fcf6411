//! Every configuration option there is: key, type, default, who may set it and
//! what it does. `conf/config.yaml`, `docs/configuration.md` and
//! `heddle config` are made from this file.
//!
//! A key is Flink's where the meaning is Flink's. An option stands here once
//! something obeys it.

use super::value::{
    ConfigValue, Fraction, HighAvailabilityType, LogLevel, MemorySize, Parallelism, PortRange, Preemption,
    RestartStrategyType, RuntimeMode, Target,
};
use super::{ConfigOption, OptionInfo, Scope};
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::time::Duration;

macro_rules! options {
    ($($group:literal { $(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty = $key:literal $(or $alias:literal)*, $scope:ident $(, $default:literal)?;
    )* })*) => {
        $($(
            $(#[doc = $doc])+
            pub const $name: ConfigOption<$type> = ConfigOption {
                info: OptionInfo {
                    key: $key,
                    aliases: &[$($alias),*],
                    type_name: <$type as ConfigValue>::type_name,
                    check: |text| <$type as ConfigValue>::parse(text).map(|_| ()),
                    default: options!(@default $($default)?),
                    group: $group,
                    scope: Scope::$scope,
                    description: concat!($($doc),+),
                },
                value: PhantomData,
            };
        )*)*

        /// Every option, in the order of the documentation.
        pub const ALL: &[&OptionInfo] = &[$($(&$name.info,)*)*];

        #[cfg(test)]
        const READS: &[fn(&super::Configuration)] = &[$($(|configuration| {
            configuration.get(&$name);
        },)*)*];
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

options! {
    "The job" {
        /// Parallelism of operators that set none of their own.
        PARALLELISM_DEFAULT: Parallelism = "parallelism.default", Job, "1";
        /// Name of the job, as lists show it. Without it the program's name, then the component's file name.
        PIPELINE_NAME: Option<String> = "pipeline.name", Job;
        /// Number of key groups of each keyed operator, and the most its parallelism may become. Without it
        /// 1.5 times the parallelism, rounded up to a power of two, between 128 and 32768.
        PIPELINE_MAX_PARALLELISM: Option<Parallelism> = "pipeline.max-parallelism", Job;
        /// Whether neighbouring operators are fused into one task. Off, every operator is a task of its own:
        /// slower, but each one's numbers show.
        OPERATOR_CHAINING: bool = "pipeline.operator-chaining.enabled" or "pipeline.operator-chaining", Job, "true";
        /// `STREAMING`: a keyed aggregation gives an update for each record. `BATCH`: it gives its final value
        /// at the end of the input, which must be bounded. `AUTOMATIC`: `BATCH` if every source is bounded.
        RUNTIME_MODE: RuntimeMode = "execution.runtime-mode", Job, "STREAMING";
        /// Longest time that a record waits in a batch that is not full.
        BUFFER_TIMEOUT: Duration = "execution.buffer-timeout.interval" or "execution.buffer-timeout", Job, "100 ms";
    }

    "Where and how it runs" {
        /// Where a job runs. `local` is a cluster inside of the process of `heddle run`, `remote` the one of
        /// the JobManager at `jobmanager.rpc.address`.
        EXECUTION_TARGET: Target = "execution.target", Cluster, "local";
        /// Whether `heddle run` waits for the end of the job and reports its result.
        EXECUTION_ATTACHED: bool = "execution.attached", Cluster, "true";
        /// How long a client that has lost its JobManager looks for it, or for another one that leads, before
        /// it gives up. One that has never reached it tries for `rpc.ask.timeout`.
        CLIENT_TIMEOUT: Duration = "client.timeout", Cluster, "1 min";
    }

    "Restarts" {
        /// What happens when a task fails.
        RESTART_STRATEGY: RestartStrategyType = "restart-strategy.type" or "restart-strategy", Job, "none";
        /// `fixed-delay`: how often a job is restarted before it fails.
        FIXED_DELAY_ATTEMPTS: u32 = "restart-strategy.fixed-delay.attempts", Job, "1";
        /// `fixed-delay`: time before each restart.
        FIXED_DELAY_DELAY: Duration = "restart-strategy.fixed-delay.delay", Job, "1 s";
        /// `exponential-delay`: time before the first restart.
        EXPONENTIAL_INITIAL_BACKOFF: Duration = "restart-strategy.exponential-delay.initial-backoff", Job, "1 s";
        /// `exponential-delay`: longest time before a restart.
        EXPONENTIAL_MAX_BACKOFF: Duration = "restart-strategy.exponential-delay.max-backoff", Job, "1 min";
        /// `exponential-delay`: by how much the time grows with each failure.
        EXPONENTIAL_MULTIPLIER: f64 = "restart-strategy.exponential-delay.backoff-multiplier", Job, "1.5";
        /// `exponential-delay`: after a run this long without failure the time starts small again.
        EXPONENTIAL_RESET: Duration = "restart-strategy.exponential-delay.reset-backoff-threshold", Job, "1 h";
        /// `exponential-delay`: the part of the time by which it varies at random.
        EXPONENTIAL_JITTER: Fraction = "restart-strategy.exponential-delay.jitter-factor", Job, "0.1";
        /// `exponential-delay`: how often a job is restarted before it fails, counted anew after a long run
        /// without failure. Without it there is no limit.
        EXPONENTIAL_ATTEMPTS: Option<u32> = "restart-strategy.exponential-delay.attempts-before-reset-backoff", Job;
        /// `failure-rate`: the job fails at more failures than this in one interval.
        FAILURE_RATE_MAX: u32 = "restart-strategy.failure-rate.max-failures-per-interval", Job, "1";
        /// `failure-rate`: the interval in which failures are counted.
        FAILURE_RATE_INTERVAL: Duration = "restart-strategy.failure-rate.failure-rate-interval", Job, "1 min";
        /// `failure-rate`: time before each restart.
        FAILURE_RATE_DELAY: Duration = "restart-strategy.failure-rate.delay", Job, "1 s";
    }

    "JobManagers" {
        /// Threads for work of a JobManager that blocks, such as files. Without it four for each processor.
        IO_POOL_SIZE: Option<NonZeroU32> = "cluster.io-pool.size", Cluster;
        /// Folder in which finished jobs are archived. Without it they are not.
        ARCHIVE_DIRECTORY: Option<String> = "jobmanager.archive.fs.dir", Cluster;
    }

    "High availability" {
        /// `filesystem`: jobs, results and who leads are kept in a folder, and a JobManager that is started
        /// again recovers the jobs. `NONE`: they go with the JobManager.
        HIGH_AVAILABILITY: HighAvailabilityType = "high-availability.type" or "high-availability", Cluster, "NONE";
        /// The folder, on a disk that all JobManagers and TaskExecutors of the cluster see; on YARN also on
        /// HDFS (`hdfs://…`).
        HA_STORAGE: Option<String> = "high-availability.storageDir", Cluster;
        /// Processes of another cluster are refused, and clusters of different ids may share the folder.
        CLUSTER_ID: String = "high-availability.cluster-id", Cluster, "default";
    }

    "TaskExecutors" {
        /// Name of a TaskExecutor among the others. Without it its address and some random digits.
        RESOURCE_ID: Option<String> = "taskmanager.resource-id", Cluster;
        /// Slots of one TaskExecutor; its memory is divided among them.
        TASK_SLOTS: NonZeroU32 = "taskmanager.numberOfTaskSlots", Cluster, "1";
        /// Threads that run all subtasks of a process. Without it one for each processor.
        WORKER_THREADS: Option<NonZeroU32> = "taskmanager.worker-threads", Cluster;
        /// How long an allocated slot waits for its job master before it is free again.
        TASK_SLOT_TIMEOUT: Duration = "taskmanager.slot.timeout", Cluster, "10 s";
        /// A TaskExecutor that no resource manager takes for this long ends.
        REGISTRATION_TIMEOUT: Duration = "taskmanager.registration.timeout", Cluster, "5 min";
        /// How often the numbers of running tasks go to their job master.
        METRICS_INTERVAL: Duration = "taskmanager.metrics.interval", Cluster, "250 ms";
    }

    "Network between TaskExecutors" {
        /// Host name or address by which others reach this TaskExecutor. Without it the name of the machine.
        TASK_EXECUTOR_HOST: Option<String> = "taskmanager.host", Cluster;
        /// Address of the network interface on which a TaskExecutor listens; `0.0.0.0` is all of them.
        TASK_EXECUTOR_BIND_HOST: String = "taskmanager.bind-host", Cluster, "localhost";
        /// Port at which other TaskExecutors read this one's results; the first free one of several, 0 is any
        /// free one.
        DATA_PORT: PortRange = "taskmanager.data.port", Cluster, "0";
        /// A producer's TaskExecutor that does not answer is tried again after this time, which doubles with
        /// each try.
        REQUEST_BACKOFF_INITIAL: Duration = "taskmanager.network.request-backoff.initial", Cluster, "100 ms";
        /// Longest time between two tries; the task fails when it has passed.
        REQUEST_BACKOFF_MAX: Duration = "taskmanager.network.request-backoff.max", Cluster, "10 s";
    }

    "YARN" {
        /// Name of the application. Without it that of its kind.
        YARN_NAME: Option<String> = "yarn.application.name", Cluster;
        /// Its type, by which YARN's pages and commands find it.
        YARN_TYPE: String = "yarn.application.type", Cluster, "Heddle";
        /// The queue to which it is submitted.
        YARN_QUEUE: String = "yarn.application.queue", Cluster, "default";
        /// Its priority in the queue, larger is earlier. Without it the queue's.
        YARN_PRIORITY: Option<NonZeroU32> = "yarn.application.priority", Cluster;
        /// How often the JobManager is started at the most. Without it 2 with high availability, else 1. YARN
        /// has a maximum of its own.
        YARN_ATTEMPTS: Option<NonZeroU32> = "yarn.application-attempts", Cluster;
        /// A JobManager's failure counts for so long; 0 is for ever.
        YARN_ATTEMPT_VALIDITY: Duration = "yarn.application-attempt-failures-validity-interval", Cluster, "10 s";
        /// Tags of the application.
        YARN_TAGS: Vec<String> = "yarn.tags", Cluster, "";
        /// Only nodes with this label.
        YARN_NODE_LABEL: Option<String> = "yarn.application.node-label", Cluster;
        /// Only nodes with this label for TaskExecutors.
        YARN_WORKER_NODE_LABEL: Option<String> = "yarn.taskmanager.node-label", Cluster;
        /// The application that commands talk to, with the target `yarn-session`.
        YARN_APPLICATION_ID: Option<String> = "yarn.application.id", Cluster;
        /// Folder of the file in which the id of the last session is remembered. Without it where temporary
        /// files are.
        YARN_PROPERTIES_FILE: Option<String> = "yarn.properties-file.location", Cluster;
        /// Files and folders of this machine, or of HDFS, that go into the folder of each container.
        YARN_SHIP_FILES: Vec<String> = "yarn.ship-files", Cluster, "";
        /// Archives (.zip, .tar, .tar.gz, .tgz, .jar) that are unpacked into a folder of their name there.
        YARN_SHIP_ARCHIVES: Vec<String> = "yarn.ship-archives", Cluster, "";
        /// Folders that all nodes see: their files go into each container and are not uploaded; the program
        /// is not uploaded if it is among them.
        YARN_PROVIDED_LIB_DIRS: Vec<String> = "yarn.provided.lib.dirs", Cluster, "";
        /// Who may look at the application: users, a blank, groups.
        YARN_VIEW_ACLS: Option<String> = "yarn.view.acls", Cluster;
        /// Who may end it.
        YARN_MODIFY_ACLS: Option<String> = "yarn.modify.acls", Cluster;
        /// Memory of the JobManager's container.
        JOB_MANAGER_MEMORY: MemorySize = "jobmanager.memory.process.size", Cluster, "512m";
        /// Virtual cores of the JobManager's container.
        YARN_MASTER_VCORES: NonZeroU32 = "yarn.appmaster.vcores", Cluster, "1";
        /// Virtual cores of a TaskExecutor's container. Without it one for each slot.
        YARN_WORKER_VCORES: Option<NonZeroU32> = "yarn.containers.vcores", Cluster;
        /// Folder below which files are staged, `hdfs://…`, or `file:/…` if every node has it. Without it
        /// the user's home on `fs.defaultFS` of Hadoop.
        YARN_STAGING: Option<String> = "yarn.staging-directory", Cluster;
        /// Copies of each staged file. Without it HDFS decides.
        YARN_REPLICATION: Option<NonZeroU32> = "yarn.file-replication", Cluster;
        /// Between heartbeats of the JobManager to YARN.
        YARN_HEARTBEAT: Duration = "yarn.heartbeat.interval", Cluster, "5 s";
        /// The same while containers are asked for.
        YARN_HEARTBEAT_REQUEST: Duration = "yarn.heartbeat.container-request-interval", Cluster, "500 ms";
    }

    "Memory of a TaskExecutor" {
        /// All memory of one TaskExecutor. The parts below add up to it. Nothing is allocated up front.
        PROCESS_MEMORY: MemorySize = "taskmanager.memory.process.size", Cluster, "1728m";
        /// The engine itself.
        FRAMEWORK_MEMORY: MemorySize = "taskmanager.memory.framework.size", Cluster, "64m";
        /// Linear memory and tables of all instances; an instance that wants more fails its task. Without it
        /// what the other parts leave.
        TASK_MEMORY: Option<MemorySize> = "taskmanager.memory.task.size", Cluster;
        /// Keyed state. Without it the fraction.
        MANAGED_MEMORY: Option<MemorySize> = "taskmanager.memory.managed.size", Cluster;
        /// Keyed state, as a part of what is neither code nor overhead.
        MANAGED_FRACTION: Fraction = "taskmanager.memory.managed.fraction", Cluster, "0.4";
        /// Batches in channels, as a part of what is neither code nor overhead.
        NETWORK_FRACTION: Fraction = "taskmanager.memory.network.fraction", Cluster, "0.1";
        /// Batches in channels: at least this.
        NETWORK_MIN: MemorySize = "taskmanager.memory.network.min", Cluster, "64m";
        /// Batches in channels: at most this.
        NETWORK_MAX: MemorySize = "taskmanager.memory.network.max", Cluster, "1t";
        /// Compiled code of components; takes the place of Flink's metaspace.
        CODE_MEMORY: MemorySize = "taskmanager.memory.code.size", Cluster, "128m";
        /// Stacks, slack of the allocator, the kernel's share, as a part of all.
        OVERHEAD_FRACTION: Fraction = "taskmanager.memory.overhead.fraction", Cluster, "0.1";
        /// The overhead is at least this.
        OVERHEAD_MIN: MemorySize = "taskmanager.memory.overhead.min", Cluster, "64m";
        /// The overhead is at most this.
        OVERHEAD_MAX: MemorySize = "taskmanager.memory.overhead.max", Cluster, "1g";
        /// Length that a batch should have.
        SEGMENT_SIZE: MemorySize = "taskmanager.memory.segment-size", Cluster, "32kb";
        /// Batches that a channel holds before its producer waits; between TaskExecutors at both of its ends.
        BUFFERS_PER_CHANNEL: NonZeroU32 = "taskmanager.network.memory.buffers-per-channel", Cluster, "4";
        /// Batches more that the channels of a result partition have between them, and those of an input that
        /// come from other TaskExecutors: with few channels each may hold more, so that producer and consumer
        /// seldom wait for each other.
        FLOATING_BUFFERS: u32 = "taskmanager.network.memory.floating-buffers-per-gate", Cluster, "8";
    }

    "The sandbox" {
        /// `epoch`: a busy guest yields every 10 ms and is ended at its deadline. `none`: it is trusted not to
        /// loop, and runs faster.
        PREEMPTION: Preemption = "taskmanager.wasm.preemption", Cluster, "epoch";
        /// Time that one call of an operator may compute; then its task fails.
        CALL_TIMEOUT: Duration = "taskmanager.wasm.call-timeout", Cluster, "1 min";
        /// Time that `main` of a program may take to build its graph.
        PLAN_TIMEOUT: Duration = "taskmanager.wasm.plan-timeout", Cluster, "10 s";
        /// What components may use of the world outside; nothing by default.
        GRANTS: Vec<String> = "taskmanager.wasm.grants", Cluster, "";
        /// Stack of an instance.
        MAX_STACK_SIZE: MemorySize = "taskmanager.wasm.max-stack-size", Cluster, "512kb";
        /// State that an instance may keep in its cache, ahead of the host's.
        STATE_CACHE_SIZE: MemorySize = "taskmanager.wasm.state-cache-size", Cluster, "64m";
        /// Log lines that a subtask may write in a second; more are dropped and counted.
        LOG_RATE: u32 = "taskmanager.wasm.log-rate", Cluster, "100";
        /// Instances that one process may hold.
        MAX_INSTANCES: NonZeroU32 = "taskmanager.wasm.max-instances", Cluster, "4096";
        /// Longest component file that is accepted.
        MAX_COMPONENT_SIZE: MemorySize = "taskmanager.wasm.max-component-size", Cluster, "256m";
        /// Time that compiling a component may take, in its own process.
        COMPILE_TIMEOUT: Duration = "taskmanager.wasm.compile.timeout", Cluster, "2 min";
        /// Memory that compiling a component may take, in its own process.
        COMPILE_MEMORY: MemorySize = "taskmanager.wasm.compile.memory", Cluster, "2g";
        /// Folder of compiled components. Without it `heddle/components` in the user's cache folder.
        CACHE_DIR: Option<String> = "taskmanager.wasm.cache-dir", Cluster;
    }

    "Slots and liveness" {
        /// How long a job waits for a slot before it fails.
        SLOT_REQUEST_TIMEOUT: Duration = "slot.request.timeout", Cluster, "5 min";
        /// How long a job keeps a slot that it does not use.
        SLOT_IDLE_TIMEOUT: Duration = "slot.idle.timeout", Cluster, "50 s";
        /// Most slots of the cluster. Without it there is no limit.
        MAX_SLOTS: Option<NonZeroU32> = "slotmanager.number-of-slots.max", Cluster;
        /// How long an idle TaskExecutor is kept.
        TASK_EXECUTOR_IDLE_TIMEOUT: Duration = "resourcemanager.taskmanager-timeout", Cluster, "30 s";
        /// How long a started TaskExecutor may take to register.
        WORKER_REGISTRATION_TIMEOUT: Duration = "resourcemanager.taskmanager-registration.timeout", Cluster, "5 min";
        /// Starting TaskExecutors pauses after a failure once there were more failures than this in a minute.
        MAX_START_FAILURES: u32 = "resourcemanager.start-worker.max-failure-rate", Cluster, "10";
        /// How long it pauses.
        START_RETRY_INTERVAL: Duration = "resourcemanager.start-worker.retry-interval", Cluster, "3 s";
        /// A TaskExecutor whose task does not end within this time after its cancellation is given up.
        CANCELLATION_TIMEOUT: Duration = "task.cancellation.timeout", Cluster, "3 min";
        /// Finished jobs that a cluster remembers.
        FINISHED_JOBS: NonZeroU32 = "jobstore.max-capacity", Cluster, "1000";
        /// How long it remembers them.
        FINISHED_JOBS_EXPIRATION: Duration = "jobstore.expiration-time", Cluster, "1 h";
        /// Finished jobs that it keeps in memory; the others are in a file.
        FINISHED_JOBS_CACHE: MemorySize = "jobstore.cache-size", Cluster, "50m";
        /// How often one role tells another that it lives.
        HEARTBEAT_INTERVAL: Duration = "heartbeat.interval", Cluster, "10 s";
        /// A role that is silent for this long is taken for lost.
        HEARTBEAT_TIMEOUT: Duration = "heartbeat.timeout", Cluster, "50 s";
    }

    "Addresses and messages between processes" {
        /// Host under which others reach the JobManager.
        JOB_MANAGER_RPC_ADDRESS: String = "jobmanager.rpc.address", Cluster, "localhost";
        /// Port, or ports to try, of the JobManager.
        JOB_MANAGER_RPC_PORT: PortRange = "jobmanager.rpc.port", Cluster, "6123";
        /// Host that the JobManager listens on; `0.0.0.0` is every one of the machine.
        JOB_MANAGER_BIND_HOST: String = "jobmanager.bind-host", Cluster, "localhost";
        /// Port, or ports to try, of a TaskExecutor; 0 is any free one.
        TASK_EXECUTOR_RPC_PORT: PortRange = "taskmanager.rpc.port", Cluster, "0";
        /// How long a process waits for the answer to a message.
        RPC_ASK_TIMEOUT: Duration = "rpc.ask.timeout" or "pekko.ask.timeout" or "akka.ask.timeout", Cluster, "10 s";
        /// Longest message between processes. Blobs travel in pieces and may be longer.
        RPC_MAX_MESSAGE_SIZE: MemorySize = "rpc.max-message-size", Cluster, "32m";
        /// Connections that a process accepts at a time; more are closed at once.
        RPC_MAX_CONNECTIONS: NonZeroU32 = "rpc.max-connections", Cluster, "4096";
        /// How long an accepted connection may take until it speaks.
        RPC_HANDSHAKE_TIMEOUT: Duration = "rpc.handshake.timeout", Cluster, "10 s";
        /// How often a silent connection is asked whether its other end lives; without an answer for as long
        /// again it is closed.
        RPC_KEEP_ALIVE_INTERVAL: Duration = "rpc.keep-alive.interval", Cluster, "10 s";
        /// Longest blob, such as a component, that the blob server takes.
        BLOB_MAX_SIZE: MemorySize = "blob.max-size", Cluster, "512m";
        /// Blobs that a TaskExecutor keeps on its disk. What running jobs need must fit; what they no longer
        /// need stays while there is room. A JobManager keeps as much of the components of jobs that have
        /// ended, for an hour, so that the next job with one of them is submitted without an upload.
        BLOB_CACHE_SIZE: MemorySize = "blob.cache.size", Cluster, "2g";
    }

    "Folders and logs" {
        /// Folder of the blob server. Without it a folder of its own under `io.tmp.dirs`.
        BLOB_STORAGE_DIRECTORY: Option<String> = "blob.storage.directory", Cluster;
        /// Folder for temporary files. Without it the system's.
        TMP_DIRS: Option<String> = "io.tmp.dirs", Cluster;
        /// Folder of log files; the environment variable HEDDLE_LOG_DIR sets it too. Without it there is no
        /// log file.
        LOG_DIR: Option<String> = "env.log.dir", Cluster;
        /// Log files of former starts, and full ones, that are kept beside the current one.
        LOG_FILES_MAX: u32 = "env.log.max", Cluster, "10";
        /// Length at which a process of a cluster begins a new log file.
        LOG_FILE_SIZE: MemorySize = "env.log.max-size", Cluster, "100m";
        /// Folder of the files that name the processes started on this machine; the environment variable
        /// HEDDLE_PID_DIR sets it too. Without it the system's for temporary files.
        PID_DIR: Option<String> = "env.pid.dir", Cluster;
        /// Options of `ssh`, by which processes are started on other machines.
        SSH_OPTIONS: Option<String> = "env.ssh.opts", Cluster;
        /// The least level that is logged.
        LOG_LEVEL: LogLevel = "env.log.level", Cluster, "INFO";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Configuration;
    use std::collections::BTreeSet;

    #[test]
    fn every_option_has_a_value_of_its_type() {
        for info in ALL {
            if let Some(default) = info.default {
                assert_eq!((info.check)(default), Ok(()), "default of {}", info.key);
            }
        }
        let empty = Configuration::new();
        READS.iter().for_each(|read| read(&empty));
        assert_eq!(READS.len(), ALL.len());
    }

    #[test]
    fn keys_and_environment_variables_are_unique() {
        let mut keys = BTreeSet::new();
        let mut variables = BTreeSet::new();
        for info in ALL {
            for key in std::iter::once(&info.key).chain(info.aliases) {
                assert!(keys.insert(*key), "{key} stands twice");
            }
            assert!(variables.insert(info.environment_variable()), "{} clashes", info.environment_variable());
        }
    }

    #[test]
    fn every_option_is_described() {
        for info in ALL {
            assert!(info.description.trim().ends_with('.'), "{}: {}", info.key, info.description);
        }
    }
}
