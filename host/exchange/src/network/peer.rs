//! Who is at the other end of a connection, and how the two greet each other.
//! Knows neither channels nor partitions.

use crate::error::Error;
use crate::wire::{ANSWER_HEAD_LENGTH, Answer, GREETING_HEAD_LENGTH, Greeting, Status, VERSION, WireError};
use bytes::Bytes;
use heddle_model::id::ResourceId;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub resource_id: ResourceId,
    /// This end, that end.
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskExecutor {} at {} (from {})", self.resource_id, self.remote, self.local)
    }
}

impl Peer {
    pub(crate) fn lost(&self, reason: impl fmt::Display) -> Error {
        Error::ConnectionLost { peer: self.to_string(), reason: reason.to_string() }
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetingError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The peers do not fit together; trying again does not help.
    #[error("{0}")]
    Refused(String),
}

/// Greets whom the socket was connected to.
pub(crate) async fn greet(stream: &mut TcpStream, greeting: &Greeting) -> Result<Peer, GreetingError> {
    stream.write_all(&greeting.encode()).await?;
    let mut head = [0; ANSWER_HEAD_LENGTH];
    stream.read_exact(&mut head).await?;
    let (version, status, length) = Answer::decode_head(&head)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let answer = Answer::decode_body(version, status, Bytes::from(body))?;
    let from = &answer.from;
    match status {
        Status::Welcome if *from == greeting.to => Ok(Peer {
            resource_id: greeting.to.clone(),
            local: stream.local_addr()?,
            remote: stream.peer_addr()?,
        }),
        Status::Welcome | Status::NotMe => {
            Err(GreetingError::Refused(format!("TaskExecutor {from} is there instead")))
        }
        Status::Version => Err(GreetingError::Refused(format!(
            "TaskExecutor {from} speaks version {version} of the exchange, {} speaks version {}: \
             run the same version of Heddle on all hosts",
            greeting.from, greeting.version,
        ))),
        Status::Cluster => Err(GreetingError::Refused(format!(
            "it belongs to another cluster than {} (`{}`)",
            greeting.from, greeting.cluster_id,
        ))),
    }
}

/// Hears who connected, and answers. Bytes that are no greeting get no answer.
pub(crate) async fn welcome(
    stream: &mut TcpStream,
    cluster_id: &str,
    own: &ResourceId,
) -> Result<Peer, GreetingError> {
    let mut head = [0; GREETING_HEAD_LENGTH];
    stream.read_exact(&mut head).await?;
    let (version, length) = Greeting::decode_head(&head)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let refusal = |status| Answer { version: VERSION, status, from: own.clone() };
    if version != VERSION {
        stream.write_all(&refusal(Status::Version).encode()).await?;
        return Err(GreetingError::Refused(format!("it speaks version {version}, this process {VERSION}")));
    }
    let greeting = Greeting::decode_body(version, Bytes::from(body))?;
    if greeting.cluster_id != cluster_id {
        let answer = Answer { from: ResourceId(String::new()), ..refusal(Status::Cluster) };
        stream.write_all(&answer.encode()).await?;
        let (from, other) = (&greeting.from, &greeting.cluster_id);
        return Err(GreetingError::Refused(format!("TaskExecutor {from} belongs to cluster `{other}`")));
    }
    if greeting.to != *own {
        stream.write_all(&refusal(Status::NotMe).encode()).await?;
        let (from, to) = (&greeting.from, &greeting.to);
        return Err(GreetingError::Refused(format!("TaskExecutor {from} looks for {to}")));
    }
    stream.write_all(&refusal(Status::Welcome).encode()).await?;
    Ok(Peer { resource_id: greeting.from, local: stream.local_addr()?, remote: stream.peer_addr()? })
}
