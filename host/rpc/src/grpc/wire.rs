//! Between the messages of `proto/rpc` and Heddle's own types.
//!
//! Nothing of a message is believed: an id has 16 bytes, a deep structure is
//! decoded to its last byte.

use super::proto;
use crate::{Address, Error, Result};
use bytes::Bytes;
use heddle_model::failure::{Domain, ErrorCode, Failure};
use heddle_model::id::{BlobKey, ExecutionAttemptId, ResourceId, SlotId};
use heddle_model::memory::ResourceProfile;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::{Code, Status};

/// Longest text of details that an error carries, in bytes: a guest backtrace
/// is some KiB, and HTTP/2 headers carry it.
const DETAILS_MAX: usize = 64 * 1024;

/// Longest one-line message of a gRPC status, in bytes. The details have all
/// of it.
const STATUS_MESSAGE_MAX: usize = 512;

/// Longest list of headers that is accepted, in bytes: `DETAILS_MAX` three
/// times over (base64, and a message about as long), and what else there is.
pub(crate) const HEADERS_MAX: u32 = 256 * 1024;

pub(crate) fn malformed(what: &str) -> Failure {
    Failure::new(ErrorCode::MessageMalformed, format!("a message between processes is malformed: {what}"))
}

/// An id of 128 bits.
pub(crate) fn id(bits: u128) -> Bytes {
    Bytes::copy_from_slice(&bits.to_be_bytes())
}

pub(crate) fn bits(bytes: &Bytes, what: &'static str) -> Result<u128> {
    match <[u8; 16]>::try_from(&bytes[..]) {
        Ok(bytes) => Ok(u128::from_be_bytes(bytes)),
        Err(_) => Err(malformed(&format!("{what} has {} bytes, not 16", bytes.len())).into()),
    }
}

pub(crate) fn blob_key(bytes: &Bytes) -> Result<BlobKey> {
    match <[u8; 32]>::try_from(&bytes[..]) {
        Ok(bytes) => Ok(BlobKey(bytes)),
        Err(_) => Err(malformed(&format!("a blob key has {} bytes, not 32", bytes.len())).into()),
    }
}

pub(crate) fn present<T>(field: Option<T>, what: &'static str) -> Result<T> {
    field.ok_or_else(|| malformed(&format!("{what} is missing")).into())
}

/// The encoding of deep structures.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Bytes> {
    match postcard::to_allocvec(value) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => {
            let message = format!("{} cannot be encoded: {error}", std::any::type_name::<T>());
            Err(Failure::new(ErrorCode::Internal, message).into())
        }
    }
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(malformed(&format!("{what} has {} bytes too many", rest.len())).into()),
        Err(error) => Err(malformed(&format!("{what} cannot be read: {error}")).into()),
    }
}

impl From<ExecutionAttemptId> for proto::ExecutionAttempt {
    fn from(attempt: ExecutionAttemptId) -> Self {
        Self {
            job_id: id(attempt.job_id.0),
            vertex_id: id(attempt.vertex_id.0),
            subtask: attempt.subtask,
            attempt: attempt.attempt,
        }
    }
}

impl TryFrom<proto::ExecutionAttempt> for ExecutionAttemptId {
    type Error = Error;
    fn try_from(attempt: proto::ExecutionAttempt) -> Result<Self> {
        Ok(Self {
            job_id: heddle_model::id::JobId(bits(&attempt.job_id, "a job id")?),
            vertex_id: heddle_model::id::VertexId(bits(&attempt.vertex_id, "a vertex id")?),
            subtask: attempt.subtask,
            attempt: attempt.attempt,
        })
    }
}

impl From<SlotId> for proto::Slot {
    fn from(slot: SlotId) -> Self {
        Self { resource_id: slot.resource_id.0, slot_number: slot.slot_number }
    }
}

impl From<proto::Slot> for SlotId {
    fn from(slot: proto::Slot) -> Self {
        Self { resource_id: ResourceId(slot.resource_id), slot_number: slot.slot_number }
    }
}

impl From<ResourceProfile> for proto::ResourceProfile {
    fn from(profile: ResourceProfile) -> Self {
        Self {
            task_memory: profile.task_memory,
            managed_memory: profile.managed_memory,
            network_memory: profile.network_memory,
        }
    }
}

impl From<proto::ResourceProfile> for ResourceProfile {
    fn from(profile: proto::ResourceProfile) -> Self {
        Self {
            task_memory: profile.task_memory,
            managed_memory: profile.managed_memory,
            network_memory: profile.network_memory,
        }
    }
}

impl From<Failure> for proto::Failure {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code.text().into(), message: failure.message, details: failure.details }
    }
}

impl From<proto::Failure> for Failure {
    fn from(failure: proto::Failure) -> Self {
        // An unknown code comes from a newer program: the rest still tells.
        let code = ErrorCode::from_text(&failure.code).unwrap_or(ErrorCode::Internal);
        Self { code, message: failure.message, details: failure.details }
    }
}

/// The error as it travels; texts beyond a limit lose their ends.
pub(crate) fn status_of(error: Error) -> Status {
    let code = code_of(&error);
    let message = shortened(error.to_string(), STATUS_MESSAGE_MAX);
    let kind = match error {
        Error::Unreachable { address } => proto::error::Kind::Unreachable(address.0),
        Error::Fenced { expected, got } => proto::error::Kind::Fenced(proto::Fenced { expected, got }),
        Error::Failure(mut failure) => {
            failure.message = shortened(failure.message, DETAILS_MAX);
            failure.details = failure.details.map(|details| shortened(details, DETAILS_MAX));
            proto::error::Kind::Failure(failure.into())
        }
    };
    with_kind(code, message, kind)
}

/// Nobody serves that here.
pub(crate) fn unknown_endpoint(endpoint: &str) -> Status {
    let message = shortened(format!("nothing is served as `{endpoint}` here"), STATUS_MESSAGE_MAX);
    with_kind(Code::NotFound, message, proto::error::Kind::UnknownEndpoint(proto::UnknownEndpoint {}))
}

fn with_kind(code: Code, message: String, kind: proto::error::Kind) -> Status {
    let details = proto::Error { kind: Some(kind) }.encode_to_vec();
    Status::with_details(code, message, details.into())
}

/// For whoever looks at the calls with a tool for gRPC; Heddle reads the
/// details.
fn code_of(error: &Error) -> Code {
    match error {
        Error::Unreachable { .. } => Code::Unavailable,
        Error::Fenced { .. } => Code::FailedPrecondition,
        Error::Failure(failure) => match failure.code {
            ErrorCode::NoSuchJob => Code::NotFound,
            ErrorCode::DuplicateJob => Code::AlreadyExists,
            ErrorCode::NoResources => Code::ResourceExhausted,
            ErrorCode::NoAnswer => Code::DeadlineExceeded,
            ErrorCode::OtherCluster | ErrorCode::ProtocolVersion => Code::FailedPrecondition,
            code => match code.domain() {
                Domain::User => Code::InvalidArgument,
                Domain::External => Code::Unavailable,
                Domain::Internal => Code::Internal,
            },
        },
    }
}

/// What a status that came from `address` means.
pub(crate) fn error_of(status: &Status, address: &Address, call: &'static str) -> Error {
    let unreachable = || Error::Unreachable { address: address.clone() };
    let details = (!status.details().is_empty()).then(|| proto::Error::decode(status.details()));
    if let Some(Ok(proto::Error { kind: Some(kind) })) = details {
        return match kind {
            proto::error::Kind::UnknownEndpoint(_) => unreachable(),
            proto::error::Kind::Unreachable(address) => Error::Unreachable { address: Address(address) },
            proto::error::Kind::Fenced(proto::Fenced { expected, got }) => Error::Fenced { expected, got },
            proto::error::Kind::Failure(failure) => Error::Failure(failure.into()),
        };
    }
    // Without details no gateway answered: the connection, or the library.
    if std::error::Error::source(status).is_some() {
        return unreachable();
    }
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::Aborted => unreachable(),
        Code::OutOfRange | Code::ResourceExhausted => too_large(call, address, status.message()).into(),
        Code::DeadlineExceeded => Error::Failure(Failure::new(
            ErrorCode::NoAnswer,
            format!("`{call}` at {address}: {}", status.message()),
        )),
        Code::Unimplemented => Error::Failure(Failure::new(
            ErrorCode::ProtocolVersion,
            format!("what answers at {address} does not know `{call}`: it is no Heddle of this version"),
        )),
        code => Error::Failure(Failure::new(
            ErrorCode::Internal,
            format!("`{call}` at {address} failed: {code}: {}", status.message()),
        )),
    }
}

pub(crate) fn too_large(call: &'static str, address: &Address, why: &str) -> Failure {
    let message = format!(
        "`{call}` at {address}: a message is too long ({why}); raise rpc.max-message-size in every process"
    );
    Failure::new(ErrorCode::MessageTooLarge, message)
}

/// What an error of the connection says at its root, such as `Connection
/// refused (os error 111)`.
pub(crate) fn root_cause(status: &Status) -> String {
    let mut error: &dyn std::error::Error = status;
    while let Some(source) = error.source() {
        error = source;
    }
    if std::ptr::addr_eq(error, status) { status.message().to_owned() } else { error.to_string() }
}

/// At most that many bytes of a text.
fn shortened(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = text.floor_char_boundary(max);
        text.truncate(end);
        text.push('…');
    }
    text
}
