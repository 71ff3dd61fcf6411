//! Who a process says it is, with each message, and whom it listens to.

use heddle_model::failure::{ErrorCode, Failure};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use std::fmt;

/// Grows with each change of `proto/rpc` or of a type that travels.
pub const PROTOCOL_VERSION: u32 = 5;

/// The version of this program.
pub const BUILD_VERSION: &str = env!("CARGO_PKG_VERSION");

const PROTOCOL: HeaderName = HeaderName::from_static("heddle-protocol");
const BUILD: HeaderName = HeaderName::from_static("heddle-build");
const ROLE: HeaderName = HeaderName::from_static("heddle-role");
const ADDRESS: HeaderName = HeaderName::from_static("heddle-address");
const CLUSTER: HeaderName = HeaderName::from_static("heddle-cluster");

/// Longest of these texts that is accepted and repeated, in bytes.
const TEXT_MAX: usize = 256;

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    JobManager,
    TaskExecutor,
    Client,
}

impl Role {
    pub const fn word(self) -> &'static str {
        match self {
            Role::JobManager => "jobmanager",
            Role::TaskExecutor => "taskexecutor",
            Role::Client => "client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// [`PROTOCOL_VERSION`], except in tests.
    pub protocol: u32,
    /// [`BUILD_VERSION`], except in tests.
    pub build: String,
    pub role: Role,
    /// A client need not know it; it is then accepted by every cluster.
    pub cluster_id: Option<String>,
}

impl Identity {
    pub fn new(role: Role, cluster_id: Option<String>) -> Self {
        Self { protocol: PROTOCOL_VERSION, build: BUILD_VERSION.to_owned(), role, cluster_id }
    }

    /// The headers of its messages.
    ///
    /// # Errors
    /// H1201: the cluster's id has characters that no header may have.
    pub(crate) fn headers(&self, address: Option<&str>) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(PROTOCOL, self.protocol.into());
        let texts = [
            (BUILD, Some(self.build.as_str())),
            (ROLE, Some(self.role.word())),
            (ADDRESS, address),
            (CLUSTER, self.cluster_id.as_deref()),
        ];
        for (name, text) in texts {
            let Some(text) = text else { continue };
            let value = HeaderValue::from_str(text).ok().filter(|_| text.len() <= TEXT_MAX);
            let Some(value) = value else {
                let message = format!(
                    "`{}` cannot be told to other processes; use visible ASCII characters, at most {TEXT_MAX}",
                    text.escape_debug()
                );
                return Err(Failure::new(ErrorCode::ConfigurationInvalid, message));
            };
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// Refuses who speaks another protocol, or belongs to another cluster.
    /// `own` and `remote` are `host:port`.
    pub(crate) fn check(&self, headers: &HeaderMap, own: &str, remote: &str) -> Result<(), Failure> {
        let text = |name: &HeaderName| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.filter(|text| text.len() <= TEXT_MAX).unwrap_or_default()
        };
        let role = match text(&ROLE) {
            "" => "a process",
            role => role,
        };
        let address = match text(&ADDRESS) {
            "" => remote,
            address => address,
        };
        let (protocol, build) = (text(&PROTOCOL), text(&BUILD));
        if protocol != self.protocol.to_string() {
            let theirs = match protocol {
                "" => "does not tell its version".to_owned(),
                _ => format!("is of version {build} and speaks protocol {protocol}"),
            };
            let message = format!(
                "{role} at {address} {theirs}, {} at {own} is of version {} and speaks protocol {}; run the \
                 same version of Heddle in both places",
                self.role, self.build, self.protocol
            );
            return Err(Failure::new(ErrorCode::ProtocolVersion, message));
        }
        let cluster = text(&CLUSTER);
        if let Some(own_cluster) = &self.cluster_id
            && cluster != own_cluster
            && !(cluster.is_empty() && role == Role::Client.word())
        {
            let message = format!(
                "{role} at {address} belongs to cluster `{cluster}`, {} at {own} to cluster `{own_cluster}`; \
                 check jobmanager.rpc.address and high-availability.cluster-id of both",
                self.role
            );
            return Err(Failure::new(ErrorCode::OtherCluster, message));
        }
        Ok(())
    }
}
