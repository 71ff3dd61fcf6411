//! Why a remote call failed, and whether another try may help.

use crate::rpc::frame::Malformed;
use std::fmt;
use std::io;
use std::time::Duration;

/// Of an exception's message: the cause is not always in its first line.
const MESSAGE_LINES_MAX: usize = 4;

/// An exception that the server threw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub server: String,
    pub method: String,
    /// Of the exception, with its package.
    pub class: String,
    /// The exception's message as one line.
    pub message: String,
    /// The server's stack trace, or the rest of the message.
    pub details: String,
}

impl Remote {
    pub fn new(server: &str, method: &str, class: String, text: &str) -> Self {
        let is_said = |line: &&str| !line.starts_with("\tat ") && !line.starts_with("Caused by:");
        let said: Vec<&str> = text.lines().take_while(is_said).take(MESSAGE_LINES_MAX).collect();
        let details: Vec<&str> = text.lines().skip(said.len()).collect();
        let message = said.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        // A server repeats the class before the message now and then.
        let message = message.trim();
        let message =
            message.strip_prefix(class.as_str()).map_or(message, |rest| rest.trim_start_matches([':', ' ']));
        Self {
            server: server.to_owned(),
            method: method.to_owned(),
            message: message.to_owned(),
            class,
            details: details.join("\n"),
        }
    }

    /// The class without its package.
    pub fn short_class(&self) -> &str {
        self.class.rsplit(['.', '$']).next().unwrap_or(&self.class)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} refused {}: {}", self.server, self.method, self.short_class())?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Whatever was tried, and what became of each.
    #[error("no {what} answers; tried {tried}")]
    Unreachable { what: String, tried: String },
    #[error("cannot reach {server}: {source}")]
    Connect { server: String, source: io::Error },
    #[error("the connection to {server} broke: {source}")]
    Lost { server: String, source: io::Error },
    #[error("{server} did not answer {method} within {after:?}")]
    NoAnswer { server: String, method: String, after: Duration },
    #[error("{server} does not accept the credentials: {reason}")]
    Credentials { server: String, reason: String },
    #[error("{0}")]
    Remote(Box<Remote>),
    #[error("{server} sent {malformed}")]
    Malformed { server: String, malformed: Malformed },
}

/// What may be done about a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing.
    No,
    /// The same again, or another of the servers: this one is not (yet) the
    /// right one.
    Again,
}

impl Error {
    pub fn retry(&self) -> Retry {
        match self {
            Error::Connect { .. } | Error::Lost { .. } => Retry::Again,
            Error::Remote(remote) => match remote.short_class() {
                "StandbyException" | "RetriableException" => Retry::Again,
                _ => Retry::No,
            },
            Error::Unreachable { .. }
            | Error::NoAnswer { .. }
            | Error::Credentials { .. }
            | Error::Malformed { .. } => Retry::No,
        }
    }

    /// The exception of the server, if it is one.
    pub fn remote(&self) -> Option<&Remote> {
        match self {
            Error::Remote(remote) => Some(remote),
            _ => None,
        }
    }

    /// Whether the server threw an exception of this class, given without its
    /// package.
    pub fn is_remote(&self, short_class: &str) -> bool {
        self.remote().is_some_and(|remote| remote.short_class() == short_class)
    }
}
