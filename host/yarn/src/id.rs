//! Ids of applications, their attempts and their containers, as YARN prints
//! and takes them.

use crate::messages::yarn;
use crate::rpc::frame::Malformed;
use std::fmt;
use std::str::FromStr;

/// `application_1700000000000_0001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplicationId {
    /// When the ResourceManager started, in milliseconds.
    pub cluster_timestamp: i64,
    pub number: i32,
}

/// `appattempt_1700000000000_0001_000001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId {
    pub application: ApplicationId,
    pub number: i32,
}

/// `container_1700000000000_0001_01_000002`, with the epoch of a ResourceManager
/// that was started again as `container_e17_…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId {
    pub attempt: AttemptId,
    /// The epoch in the upper 24 bits.
    pub number: i64,
}

/// The bits of a container's number below its epoch.
const NUMBER_BITS: u32 = 40;

impl fmt::Display for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application_{}_{:04}", self.cluster_timestamp, self.number)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ApplicationId { cluster_timestamp, number } = self.application;
        write!(f, "appattempt_{cluster_timestamp}_{number:04}_{:06}", self.number)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ApplicationId { cluster_timestamp, number } = self.attempt.application;
        f.write_str("container_")?;
        if self.number >> NUMBER_BITS > 0 {
            write!(f, "e{:02}_", self.number >> NUMBER_BITS)?;
        }
        let own = self.number & ((1 << NUMBER_BITS) - 1);
        write!(f, "{cluster_timestamp}_{number:04}_{:02}_{own:06}", self.attempt.number)
    }
}

/// A text that is no id of this kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind}; it looks like {example}")]
pub struct ParseError {
    text: String,
    kind: &'static str,
    example: &'static str,
}

impl FromStr for ApplicationId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parsed = text.strip_prefix("application_").and_then(|rest| application(rest.split('_')));
        parsed.filter(|(_, is_end)| *is_end).map(|(id, _)| id).ok_or_else(|| ParseError {
            text: text.to_owned(),
            kind: "application id",
            example: "application_1700000000000_0001",
        })
    }
}

impl FromStr for ContainerId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        container(text).ok_or_else(|| ParseError {
            text: text.to_owned(),
            kind: "container id",
            example: "container_1700000000000_0001_01_000002",
        })
    }
}

fn application<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<(ApplicationId, bool)> {
    let id = ApplicationId { cluster_timestamp: number(parts.next()?)?, number: number(parts.next()?)? };
    Some((id, parts.next().is_none()))
}

fn container(text: &str) -> Option<ContainerId> {
    let mut parts = text.strip_prefix("container_")?.split('_').peekable();
    let epoch: i64 = match parts.peek()?.strip_prefix('e') {
        Some(epoch) => {
            parts.next();
            number::<i64>(epoch).filter(|epoch| *epoch < 1 << (63 - NUMBER_BITS))?
        }
        None => 0,
    };
    let (application, is_end) = application(parts.by_ref().take(2))?;
    let attempt = AttemptId { application, number: number(parts.next()?)? };
    let own: i64 = number::<i64>(parts.next()?).filter(|own| *own < 1 << NUMBER_BITS)?;
    (is_end && parts.next().is_none()).then_some(ContainerId { attempt, number: epoch << NUMBER_BITS | own })
}

/// Digits only, no sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl From<ApplicationId> for yarn::ApplicationId {
    fn from(id: ApplicationId) -> Self {
        Self { id: Some(id.number), cluster_timestamp: Some(id.cluster_timestamp) }
    }
}

impl TryFrom<yarn::ApplicationId> for ApplicationId {
    type Error = Malformed;

    fn try_from(id: yarn::ApplicationId) -> Result<Self, Malformed> {
        match (id.cluster_timestamp, id.id) {
            (Some(cluster_timestamp), Some(number)) => Ok(Self { cluster_timestamp, number }),
            _ => Err(Malformed::Other("an application id with a part missing")),
        }
    }
}

impl From<AttemptId> for yarn::ApplicationAttemptId {
    fn from(id: AttemptId) -> Self {
        Self { application_id: Some(id.application.into()), attempt_id: Some(id.number) }
    }
}

impl From<ContainerId> for yarn::ContainerId {
    fn from(id: ContainerId) -> Self {
        Self { app_id: None, app_attempt_id: Some(id.attempt.into()), id: Some(id.number) }
    }
}

impl TryFrom<yarn::ContainerId> for ContainerId {
    type Error = Malformed;

    fn try_from(id: yarn::ContainerId) -> Result<Self, Malformed> {
        let missing = Malformed::Other("a container id with a part missing");
        let (Some(attempt), Some(number)) = (id.app_attempt_id, id.id) else { return Err(missing) };
        let (Some(application), Some(attempt)) = (attempt.application_id, attempt.attempt_id) else {
            return Err(missing);
        };
        Ok(Self { attempt: AttemptId { application: application.try_into()?, number: attempt }, number })
    }
}
