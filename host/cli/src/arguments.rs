//! The command line's grammar. Options before the component are Heddle's, those
//! after it the job's.

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use heddle_model::config::value::Target;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Examples:
  heddle run -p 4 word-count.wasm --input logs/ --output counts/
  heddle info word-count.wasm --input logs/ --output counts/
  heddle run -m jobmanager:6123 -d word-count.wasm --input /data/logs --output /data/counts
  heddle list -m jobmanager:6123
  heddle config

Configuration comes from conf/config.yaml, the environment (HEDDLE_CONFIG_…) and -D; \
`heddle config` shows what is in force.";

/// A distributed stream processor whose user code is WebAssembly.
#[derive(Debug, Parser)]
#[command(
    name = "heddle",
    version,
    after_help = AFTER_HELP,
    subcommand_required = true,
    arg_required_else_help = false
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a job and wait for its end
    Run(RunArguments),
    /// Show the plan of a job without running it, or what a job of a cluster does
    Info(InfoArguments),
    /// Show the effective configuration and where each value came from
    Config(ConfigArguments),
    /// Tell what causes an error and what helps
    Explain(ExplainArguments),
    /// Print a completion script for a shell
    #[command(
        after_help = "Examples:\n  heddle completions bash > ~/.local/share/bash-completion/completions/heddle\n  heddle completions zsh > ~/.zfunc/_heddle"
    )]
    Completions { shell: clap_complete::Shell },
    /// List the jobs of a cluster
    List(ListArguments),
    /// Cancel a job of a cluster
    Cancel(CancelArguments),
    /// Stop a job with a savepoint (served by a later version)
    Stop(Anything),
    /// Take a savepoint of a job (served by a later version)
    Savepoint(Anything),
    /// Start or stop a JobManager on this machine
    Jobmanager(JobmanagerArguments),
    /// Start or stop a TaskExecutor on this machine
    Taskexecutor(TaskexecutorArguments),
    /// Start or stop a cluster on the machines of conf/masters and conf/workers
    Cluster(StandaloneArguments),
    /// Start a session on YARN, or end one
    YarnSession(YarnSessionArguments),
}

/// Whatever stands behind a command that this version does not serve.
#[derive(Debug, Args)]
pub struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub arguments: Vec<OsString>,
}

const YARN_SESSION_HELP: &str = "\
Examples:
  heddle yarn-session -d -jm 512m -tm 1g -s 2 -nm loom -qu default
  heddle yarn-session -id application_1700000000000_0001     (then `stop` ends it)

HADOOP_CONF_DIR or YARN_CONF_DIR names the folder of yarn-site.xml. As Flink's, options of two
letters have one dash.";

#[derive(Debug, Args)]
#[command(after_help = YARN_SESSION_HELP)]
pub struct YarnSessionArguments {
    /// End this command once the session runs
    #[arg(short, long)]
    pub detached: bool,

    /// -jm: memory of the JobManager's container
    #[arg(long = "jobManagerMemory", value_name = "SIZE")]
    pub job_manager_memory: Option<String>,

    /// -tm: memory of each TaskExecutor's container
    #[arg(long = "taskManagerMemory", value_name = "SIZE")]
    pub task_manager_memory: Option<String>,

    /// Slots of each TaskExecutor
    #[arg(short, long, value_name = "N")]
    pub slots: Option<String>,

    /// -nm: name of the application
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// -qu: queue of YARN
    #[arg(long, value_name = "QUEUE")]
    pub queue: Option<String>,

    /// -at: type of the application
    #[arg(long = "applicationType", value_name = "TYPE")]
    pub application_type: Option<String>,

    /// -nl: only nodes with this label
    #[arg(long = "nodeLabel", value_name = "LABEL")]
    pub node_label: Option<String>,

    /// -id: attach to a session that runs
    #[arg(long = "applicationId", alias = "id", value_name = "ID")]
    pub application_id: Option<String>,

    /// Set a configuration key for this session
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub dynamic: Vec<String>,

    /// Log to standard error; twice for more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

const EXPLAIN_HELP: &str = "\
Examples:
  heddle explain H1301
  heddle explain              (lists the codes of all errors)";

#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_HELP)]
pub struct ExplainArguments {
    /// The code of the error, as it stands in its line
    pub code: Option<String>,
}

/// What to do with a process of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Action {
    /// Start one more, behind the terminal
    Start,
    /// Start one in front of the terminal
    StartForeground,
    /// Stop the one that was started last
    Stop,
    /// Stop all of this machine
    StopAll,
    /// List those of this machine
    Status,
}

#[derive(Debug, Args)]
pub struct ProcessArguments {
    /// Set a configuration key for this process only
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub dynamic: Vec<String>,

    /// Its number among those started behind the terminal
    #[arg(long, hide = true)]
    pub instance: Option<String>,
}

const JOBMANAGER_HELP: &str = "\
Examples:
  heddle jobmanager start
  heddle jobmanager start-foreground -Djobmanager.rpc.port=7000
  heddle jobmanager start-foreground standalonejob word-count.wasm --input logs/ --output counts/
  heddle jobmanager stop

Exit codes of start-foreground: 0 the job finished or was cancelled, 163 it failed, 165 its end is
unknown; 1 it could not start, 2 a fatal error; 143 after SIGTERM, 130 after SIGINT.";

#[derive(Debug, Args)]
#[command(after_help = JOBMANAGER_HELP)]
pub struct JobmanagerArguments {
    pub action: Action,

    /// standalonesession takes jobs until it is stopped, standalonejob runs the one that it is given
    #[arg(default_value = "standalonesession")]
    pub daemon: String,

    #[command(flatten)]
    pub process: ProcessArguments,

    /// For standalonejob: the component of the job, and the job's own arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_names = ["JOB.wasm", "ARGUMENTS"],
        value_hint = clap::ValueHint::FilePath
    )]
    pub job: Vec<OsString>,
}

const TASKEXECUTOR_HELP: &str = "\
Examples:
  heddle taskexecutor start
  heddle taskexecutor start -Djobmanager.rpc.address=host -Dtaskmanager.numberOfTaskSlots=4
  heddle taskexecutor stop-all";

#[derive(Debug, Args)]
#[command(after_help = TASKEXECUTOR_HELP)]
pub struct TaskexecutorArguments {
    pub action: Action,

    #[command(flatten)]
    pub process: ProcessArguments,
}

/// What to do with a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StandaloneAction {
    /// Start what conf/masters and conf/workers name
    Start,
    /// Stop it
    Stop,
    /// Show what runs of it, and who leads
    Status,
}

const CLUSTER_HELP: &str = "\
Examples:
  heddle cluster start
  heddle cluster status
  heddle cluster stop

conf/masters and conf/workers name a machine a line; without them both are this machine. Processes
on other machines are started by ssh, with this program and its configuration at the same place.";

#[derive(Debug, Args)]
#[command(after_help = CLUSTER_HELP)]
pub struct StandaloneArguments {
    pub action: StandaloneAction,

    /// Set a configuration key for all of its processes
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub dynamic: Vec<String>,
}

/// Takes any text, which the configuration checks; completions offer these.
#[derive(Clone)]
struct Offers(&'static [Target]);

const TARGETS: [Target; 5] =
    [Target::Local, Target::Remote, Target::YarnSession, Target::YarnPerJob, Target::YarnApplication];
const CLUSTER_TARGETS: [Target; 2] = [Target::Remote, Target::YarnSession];

impl TypedValueParser for Offers {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(|target| PossibleValue::new(target.word()))))
    }
}

/// Where the configuration comes from, beside files and environment.
#[derive(Debug, Default, Args)]
pub struct ConfigurationArguments {
    /// Set a configuration key for this run only
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub dynamic: Vec<String>,

    /// Parallelism of operators that set none of their own
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    pub parallelism: Option<String>,

    /// Where the job runs: local (the default), remote, yarn-session, yarn-per-job, yarn-application
    #[arg(short, long, value_name = "TARGET", value_parser = Offers(&TARGETS), hide_possible_values = true)]
    pub target: Option<String>,
}

/// Which cluster a command talks to.
#[derive(Debug, Default, Args)]
pub struct ClusterArguments {
    /// Address of the JobManager; without it what the configuration says
    #[arg(short = 'm', long = "jobmanager", value_name = "HOST:PORT")]
    pub jobmanager: Option<String>,

    /// Where the cluster is: remote (the default), yarn-session
    #[arg(
        short,
        long,
        value_name = "TARGET",
        value_parser = Offers(&CLUSTER_TARGETS),
        hide_possible_values = true
    )]
    pub target: Option<String>,

    /// Set a configuration key for this command only
    #[arg(short = 'D', value_name = "KEY=VALUE")]
    pub dynamic: Vec<String>,

    /// Log to standard error; twice for more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

const LIST_HELP: &str = "\
Examples:
  heddle list
  heddle list -m jobmanager:6123 -a
  heddle list -r --json | jq -r .[].id
  heddle list --overview

Without -r, -s or -a: the jobs that have not ended. Times are in UTC.";

#[derive(Debug, Args)]
#[command(after_help = LIST_HELP)]
pub struct ListArguments {
    #[command(flatten)]
    pub cluster: ClusterArguments,

    /// Only jobs that run or restart
    #[arg(short, long)]
    pub running: bool,

    /// Only jobs that have not begun to run
    #[arg(short, long)]
    pub scheduled: bool,

    /// Also jobs that have ended, as long as the cluster remembers them
    #[arg(short, long, conflicts_with_all = ["running", "scheduled"])]
    pub all: bool,

    /// Not the jobs, but the TaskExecutors, their slots, and what the JobManager counts of its messages
    #[arg(short, long, conflicts_with_all = ["running", "scheduled", "all"])]
    pub overview: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const CANCEL_HELP: &str = "\
Examples:
  heddle cancel 5f3a0c1e9b7d4a62b8c0d1e2f3a4b5c6
  heddle cancel -m jobmanager:6123 5f3a0c1e9b7d4a62b8c0d1e2f3a4b5c6

Waits until the job has ended; nothing of its unpublished output is left. Ctrl-C stops waiting, not
the cancellation.";

#[derive(Debug, Args)]
#[command(after_help = CANCEL_HELP)]
pub struct CancelArguments {
    #[command(flatten)]
    pub cluster: ClusterArguments,

    /// The job's id, as `heddle list` shows it
    #[arg(value_name = "JOB ID")]
    pub job: String,
}

const RUN_HELP: &str = "\
Examples:
  heddle run word-count.wasm --input README.md --output /tmp/words
  heddle run -m jobmanager:6123 -d word-count.wasm --input /data/logs --output /data/counts
  heddle run -p 8 -Dexecution.runtime-mode=BATCH word-count.wasm --input logs/ --output counts/
  heddle run -q -Drestart-strategy.type=fixed-delay job.wasm | sort

Ctrl-C cancels the job; nothing of its output is published. A second Ctrl-C ends at once.
Lines of print and collect sinks go to standard output, everything else to standard error:
progress, and what operators print or log as warnings (-q: nothing of it; -v: the whole log;
-D env.log.dir=FOLDER: the whole log in a file).

With -m, or -t remote, the job runs on a cluster: paths of its input and output are those of the
TaskExecutors' machines, and print sinks and operators write where the TaskExecutors do. With -d the
command ends once the cluster has taken the job; lines of its collect sinks are then dropped.";

#[derive(Debug, Args)]
#[command(
    override_usage = "heddle run [OPTIONS] <JOB.wasm> [ARGUMENTS OF THE JOB]...",
    after_help = RUN_HELP
)]
pub struct RunArguments {
    #[command(flatten)]
    pub configuration: ConfigurationArguments,

    /// Do not wait for the end of the job (on a cluster that outlives this command)
    #[arg(short, long)]
    pub detached: bool,

    /// Start from a savepoint
    #[arg(short = 's', long = "fromSavepoint", value_name = "PATH")]
    pub from_savepoint: Option<String>,

    /// Allow state in the savepoint that the job no longer has
    #[arg(short = 'n', long = "allowNonRestoredState")]
    pub allow_non_restored_state: bool,

    /// Address of the JobManager to submit to; means -t remote
    #[arg(short = 'm', long = "jobmanager", value_name = "HOST:PORT")]
    pub jobmanager: Option<String>,

    /// Show results and errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log to standard error; twice for more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Write the result as JSON into a file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// The component of the job, and the job's own arguments
    // One list, so that nothing behind the component is taken for Heddle's.
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_names = ["JOB.wasm", "ARGUMENTS"],
        value_hint = clap::ValueHint::FilePath
    )]
    pub job: Vec<OsString>,
}

const INFO_HELP: &str = "\
Examples:
  heddle info word-count.wasm --input README.md --output /tmp/words
  heddle info -p 4 --json job.wasm | jq .nodes
  heddle info 5f3a0c1e9b7d4a62b8c0d1e2f3a4b5c6
  heddle info -m jobmanager:6123 --json 5f3a0c1e9b7d4a62b8c0d1e2f3a4b5c6

Of a component it shows the plan, without running it. Of a job of a cluster, named by its id: what
its vertices and subtasks do, their rates and attempts, the latest failures.";

#[derive(Debug, Args)]
#[command(
    override_usage = "heddle info [OPTIONS] <JOB.wasm> [ARGUMENTS OF THE JOB]...\n       heddle info [OPTIONS] <JOB ID>",
    after_help = INFO_HELP
)]
pub struct InfoArguments {
    #[command(flatten)]
    pub configuration: ConfigurationArguments,

    /// Address of the JobManager that is asked for a job
    #[arg(short = 'm', long = "jobmanager", value_name = "HOST:PORT")]
    pub jobmanager: Option<String>,

    /// Print JSON only
    #[arg(long)]
    pub json: bool,

    /// Of a job of a cluster: rates over its whole time, at once, instead of those of the next second
    #[arg(long)]
    pub average: bool,

    /// The component of the job, and the job's own arguments; or the id of a job of a cluster
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_names = ["JOB.wasm | JOB ID", "ARGUMENTS"],
        value_hint = clap::ValueHint::FilePath
    )]
    pub job: Vec<OsString>,
}

/// Options of `heddle info` that stand behind a job's id.
#[derive(Debug, Parser)]
#[command(name = "heddle info", no_binary_name = true)]
pub struct BehindJobId {
    #[command(flatten)]
    pub cluster: ClusterArguments,

    /// Print JSON only
    #[arg(long)]
    pub json: bool,

    /// Rates over the whole time of the job, at once, instead of those of the next second
    #[arg(long)]
    pub average: bool,
}

const CONFIG_HELP: &str = "\
Examples:
  heddle config
  heddle config -Dparallelism.default=4 parallelism
  heddle config --all --json";

#[derive(Debug, Args)]
#[command(after_help = CONFIG_HELP)]
pub struct ConfigArguments {
    #[command(flatten)]
    pub configuration: ConfigurationArguments,

    /// Also keys that have no value, and what each key means
    #[arg(long)]
    pub all: bool,

    /// Print JSON
    #[arg(long)]
    pub json: bool,

    /// Only keys that contain this text
    pub filter: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Wider help is wrapped.
    const HELP_WIDTH: usize = 100;

    fn run(arguments: &[&str]) -> RunArguments {
        match Arguments::try_parse_from(["heddle", "run"].iter().chain(arguments)).unwrap().command {
            Command::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_grammar_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_is_wrapped_by_hand_is_not_wrapped_again() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                assert!(line.chars().count() <= HELP_WIDTH, "{}: {line}", command.get_name());
            }
        }
    }

    #[test]
    fn completions_know_every_command_and_option() {
        use clap_complete::Shell::{Bash, Fish, Zsh};
        for shell in [Bash, Zsh, Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "heddle", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Arguments::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
                for argument in command.get_arguments() {
                    // Fish writes `-l report` for `--report`.
                    let dashes = if shell == Fish { "-l " } else { "--" };
                    if let Some(long) = argument.get_long() {
                        assert!(script.contains(&format!("{dashes}{long}")), "{shell}: --{long}");
                    }
                    let dash = if shell == Fish { "-s " } else { "-" };
                    if let Some(short) = argument.get_short() {
                        assert!(script.contains(&format!("{dash}{short}")), "{shell}: -{short}");
                    }
                }
            }
        }
    }

    #[test]
    fn targets_are_offered_and_not_files() {
        let mut script = Vec::new();
        clap_complete::generate(clap_complete::Shell::Bash, &mut Arguments::command(), "heddle", &mut script);
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("local remote yarn-session yarn-per-job yarn-application"), "{script}");
        // Whether it is one is told by the configuration, with its origin.
        assert_eq!(run(&["-t", "moon", "job.wasm"]).configuration.target.as_deref(), Some("moon"));
    }

    #[test]
    fn options_behind_the_component_are_the_jobs() {
        let run = run(&[
            "-p", "4", "-Da.b=c", "-q", "job.wasm", "-p", "7", "--input", "x", "-Dz=1", "--", "--help",
        ]);
        assert_eq!(run.configuration.parallelism.as_deref(), Some("4"));
        assert_eq!(run.configuration.dynamic, ["a.b=c"]);
        assert!(run.quiet);
        let expected = ["job.wasm", "-p", "7", "--input", "x", "-Dz=1", "--", "--help"];
        assert_eq!(run.job, expected.map(OsString::from));
    }

    #[test]
    fn flinks_spellings_are_taken() {
        let run = run(&[
            "-d",
            "-s",
            "file:///savepoint",
            "-n",
            "-m",
            "host:8081",
            "-t",
            "remote",
            "-D",
            "a=b",
            "j",
        ]);
        assert!(run.detached && run.allow_non_restored_state);
        assert_eq!(run.from_savepoint.as_deref(), Some("file:///savepoint"));
        assert_eq!(run.jobmanager.as_deref(), Some("host:8081"));
        assert_eq!(run.configuration.target.as_deref(), Some("remote"));
        assert_eq!(run.configuration.dynamic, ["a=b"]);
    }
}
