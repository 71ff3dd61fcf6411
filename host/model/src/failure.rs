//! Why something failed, as it travels between roles and to the user.
//!
//! `code` has a page under `docs/errors/`; `message` is one clear line;
//! `details` may have many (a guest backtrace).

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Domain {
    /// The program, its arguments or its input.
    User,
    /// Something outside of Heddle: a disk, a network, another system.
    External,
    /// Heddle itself.
    Internal,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $domain:ident, $retry:literal;)*) => {
        /// Operator-facing error codes; each has a page, `docs/errors/<code>.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The code as it is printed and documented.
            pub const fn text(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }

            pub const fn domain(self) -> Domain {
                match self { $(ErrorCode::$name => Domain::$domain,)* }
            }

            /// The code of that text.
            pub fn from_text(text: &str) -> Option<ErrorCode> {
                Self::ALL.iter().copied().find(|code| code.text() == text)
            }

            /// Its page: a heading, and then what causes it and what helps.
            pub const fn page(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => include_str!(concat!("../../../docs/errors/", $text, ".md")),)*
                }
            }

            /// Whether the same thing tried again may succeed.
            pub const fn retry_helps(self) -> bool {
                match self { $(ErrorCode::$name => $retry,)* }
            }
        }
    };
}

codes! {
    /// The file is not a component that Heddle can run.
    ComponentInvalid = "H1001", User, false;
    /// The component is of another world or version.
    ComponentWorld = "H1002", User, false;
    /// The component imports what its job is not granted.
    ComponentImport = "H1003", User, false;
    /// Compiling the component hit a limit or crashed.
    ComponentCompile = "H1004", User, false;
    /// `main` failed, panicked or did not return.
    PlanFailed = "H1101", User, false;
    /// The graph is not valid.
    PlanInvalid = "H1102", User, false;
    /// Two ends of an edge disagree on the element type.
    SchemaMismatch = "H1103", User, false;
    /// Parallelism is 0 or above the maximum.
    ParallelismInvalid = "H1104", User, false;
    /// A configuration key or value is wrong.
    ConfigurationInvalid = "H1201", User, false;
    /// A connector's options, input or output are not usable.
    ConnectorInvalid = "H1301", User, false;
    /// Reading or writing failed while the job ran.
    ConnectorIo = "H1302", External, true;
    /// The file system of an input or output does not answer, or takes no changes.
    FileSystemUnavailable = "H1303", External, true;
    /// An operator panicked or trapped.
    OperatorTrap = "H2001", User, true;
    /// An operator returned an error.
    OperatorError = "H2002", User, true;
    /// An operator's call ran past its deadline.
    OperatorDeadline = "H2003", User, true;
    /// The slot's task memory is used up.
    MemoryLimit = "H2004", User, true;
    /// The slot's managed memory (state) is used up.
    StateLimit = "H2005", User, true;
    /// The guest broke the contract: a malformed batch, an unknown output, …
    ContractViolation = "H2006", User, true;
    /// The guest's stack is used up: unbounded recursion.
    StackOverflow = "H2007", User, true;
    /// Not enough slots, and no worker could be started in time.
    NoResources = "H3001", External, true;
    /// A worker was lost.
    WorkerLost = "H3002", External, true;
    /// A message came from a peer that no longer leads.
    Fenced = "H3003", Internal, true;
    /// Network memory does not suffice for the job's channels.
    NetworkMemory = "H3004", User, false;
    /// The task at the other end of a channel is gone; that one knows why.
    PeerGone = "H3005", External, true;
    /// The connection between two TaskExecutors broke or did not come about.
    ConnectionLost = "H3006", External, true;
    /// The same job was submitted before.
    DuplicateJob = "H3101", User, false;
    /// No such job is known, or it has ended already.
    NoSuchJob = "H3102", User, false;
    /// The job was cancelled.
    JobCanceled = "H3103", User, false;
    /// Storing or fetching a blob failed.
    Blob = "H3201", External, true;
    /// A blob's content does not have its checksum.
    BlobCorrupted = "H3202", External, true;
    /// The two ends of a connection speak different versions of the protocol.
    ProtocolVersion = "H3301", User, false;
    /// The two ends of a connection belong to different clusters.
    OtherCluster = "H3302", User, false;
    /// A process took a message and did not answer in time.
    NoAnswer = "H3303", External, true;
    /// A message is longer than is allowed.
    MessageTooLarge = "H3304", User, false;
    /// A message cannot be read, or says what cannot be.
    MessageMalformed = "H3305", Internal, false;
    /// The port, or the host, cannot be listened on.
    PortUnavailable = "H3306", User, true;
    /// Nothing answers where a process should.
    Unreachable = "H3307", External, true;
    /// The high-availability storage failed, or what it holds is damaged.
    HighAvailability = "H3401", External, true;
    /// Hadoop's configuration is not found, or is wrong.
    HadoopConfiguration = "H3501", User, false;
    /// YARN does not answer, or refuses a call.
    Yarn = "H3502", External, true;
    /// The application on YARN does not start, or ended otherwise than it should.
    YarnApplication = "H3503", External, false;
    /// Files cannot be staged for the nodes of YARN.
    YarnStaging = "H3504", External, true;
    /// A defect of Heddle.
    Internal = "H9001", Internal, true;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A failure with its code, one line for the user, and what else is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: ErrorCode,
    /// One line: what was wrong, where, and what to do.
    pub message: String,
    /// More lines, such as a guest backtrace.
    pub details: Option<String>,
}

impl Failure {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None }
    }

    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }
}
