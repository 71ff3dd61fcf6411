//! What both ends of a connection say first: who they are, and whom they want.

use super::WireError;
use bytes::{Buf, Bytes};
use heddle_model::id::ResourceId;

/// Version of `proto/exchange.md`.
pub const VERSION: u32 = 1;
/// Bytes of a greeting before its names: magic, version, length.
pub const GREETING_HEAD_LENGTH: usize = 12;
/// Bytes of an answer before its name: magic, version, status, length.
pub const ANSWER_HEAD_LENGTH: usize = 16;

const MAGIC: [u8; 4] = *b"HDX1";
/// A cluster id and two resource ids, each with its length.
const BODY_LENGTH_MAX: u32 = 3 * (2 + NAME_LENGTH_MAX as u32);
const NAME_LENGTH_MAX: usize = 1024;

/// The consumer's first word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    pub version: u32,
    pub cluster_id: String,
    pub from: ResourceId,
    /// Whom it wants to talk to.
    pub to: ResourceId,
}

impl Greeting {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for name in [&self.cluster_id, &self.from.0, &self.to.0] {
            put_name(&mut body, name);
        }
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.append(&mut body);
        bytes
    }

    /// Its version, and how many bytes follow.
    pub fn decode_head(bytes: &[u8; GREETING_HEAD_LENGTH]) -> Result<(u32, usize), WireError> {
        let mut bytes = &bytes[..];
        let version = take_magic(&mut bytes)?;
        Ok((version, take_length(&mut bytes)?))
    }

    /// The rest of a greeting of the version that this process speaks.
    pub fn decode_body(version: u32, mut bytes: Bytes) -> Result<Self, WireError> {
        let mut name = || take_name(&mut bytes);
        Ok(Self { version, cluster_id: name()?, from: ResourceId(name()?), to: ResourceId(name()?) })
    }
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    Welcome = 0,
    /// The versions differ.
    Version = 1,
    /// The clusters differ.
    Cluster = 2,
    /// Somebody else is at this address.
    NotMe = 3,
}

impl Status {
    pub const ALL: [Status; 4] = [Status::Welcome, Status::Version, Status::Cluster, Status::NotMe];
}

/// The producer's first word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub version: u32,
    pub status: Status,
    /// Who answers; empty towards another cluster.
    pub from: ResourceId,
}

impl Answer {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_name(&mut body, &self.from.0);
        let mut bytes = MAGIC.to_vec();
        for number in [self.version, self.status as u32, body.len() as u32] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.append(&mut body);
        bytes
    }

    /// Its version and status, and how many bytes follow.
    pub fn decode_head(bytes: &[u8; ANSWER_HEAD_LENGTH]) -> Result<(u32, Status, usize), WireError> {
        let mut bytes = &bytes[..];
        let version = take_magic(&mut bytes)?;
        let number = bytes.get_u32_le();
        let status = Status::ALL.into_iter().find(|status| *status as u32 == number);
        Ok((version, status.ok_or(WireError::Status(number))?, take_length(&mut bytes)?))
    }

    pub fn decode_body(version: u32, status: Status, mut bytes: Bytes) -> Result<Self, WireError> {
        Ok(Self { version, status, from: ResourceId(take_name(&mut bytes)?) })
    }
}

fn put_name(bytes: &mut Vec<u8>, name: &str) {
    let name = &name[..name.floor_char_boundary(NAME_LENGTH_MAX)];
    bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
    bytes.extend_from_slice(name.as_bytes());
}

fn take_magic(bytes: &mut &[u8]) -> Result<u32, WireError> {
    let mut found = [0; 4];
    bytes.copy_to_slice(&mut found);
    if found == MAGIC { Ok(bytes.get_u32_le()) } else { Err(WireError::Magic { found }) }
}

fn take_length(bytes: &mut &[u8]) -> Result<usize, WireError> {
    let length = bytes.get_u32_le();
    if length > BODY_LENGTH_MAX {
        return Err(WireError::GreetingLength { length, most: BODY_LENGTH_MAX });
    }
    Ok(length as usize)
}

fn take_name(bytes: &mut Bytes) -> Result<String, WireError> {
    let length = bytes.try_get_u16_le().map_err(|_| WireError::GreetingCut)?;
    if bytes.len() < usize::from(length) {
        return Err(WireError::GreetingCut);
    }
    let name = bytes.split_to(usize::from(length));
    std::str::from_utf8(&name).map(str::to_owned).map_err(|_| WireError::NotText)
}
