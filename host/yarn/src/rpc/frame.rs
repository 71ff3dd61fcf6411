//! Frames, purely: what one connection end writes and the other reads. Knows
//! neither sockets nor protection.
//!
//! A frame is its length (u32, big-endian), then messages, each with its own
//! length before it (varint).

use crate::messages::rpc::{RequestHeader, RpcKind, RpcRequestHeader, RpcResponseHeader, rpc_request_header};
use prost::Message;

/// Longer frames are no answer that Heddle asks for.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// Call ids that are no calls.
pub const CONNECTION_CONTEXT: i32 = -3;
pub const PING: i32 = -4;
pub const SASL: i32 = -33;

const MAGIC: &[u8; 4] = b"hrpc";
const VERSION: u8 = 9;

/// What comes first on a connection.
pub fn preamble(with_sasl: bool) -> [u8; 7] {
    let [a, b, c, d] = *MAGIC;
    // The service class, and how authentication starts.
    [a, b, c, d, VERSION, 0, if with_sasl { 0xDF } else { 0 }]
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a frame of {0} bytes; the most is {FRAME_BYTES_MAX}")]
    TooLong(usize),
    #[error("a message that cannot be read: {0}")]
    Message(#[from] prost::DecodeError),
    #[error("{0}")]
    Other(&'static str),
}

/// The header of something that is sent.
pub fn header(call_id: i32, client_id: &[u8], retry_count: i32) -> RpcRequestHeader {
    RpcRequestHeader {
        rpc_kind: Some(RpcKind::RpcProtocolBuffer.into()),
        rpc_op: Some(rpc_request_header::Operation::RpcFinalPacket.into()),
        call_id,
        client_id: client_id.to_vec(),
        retry_count: Some(retry_count),
    }
}

/// A frame of a header and one message, or none (a ping).
pub fn frame(header: &RpcRequestHeader, message: Option<&impl Message>) -> Vec<u8> {
    let mut body = header.encode_length_delimited_to_vec();
    if let Some(message) = message {
        body.extend(message.encode_length_delimited_to_vec());
    }
    finish(&body)
}

/// A frame that calls a method.
pub fn call(header: &RpcRequestHeader, method: &RequestHeader, message: &impl Message) -> Vec<u8> {
    let mut body = header.encode_length_delimited_to_vec();
    body.extend(method.encode_length_delimited_to_vec());
    body.extend(message.encode_length_delimited_to_vec());
    finish(&body)
}

fn finish(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

/// The length of the frame that starts here, without its prefix; none if the
/// prefix has not come yet.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(prefix) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length > FRAME_BYTES_MAX { Err(Malformed::TooLong(length)) } else { Ok(Some(length)) }
}

/// Header and rest of an answer, from a frame without its prefix.
pub fn response(mut frame: &[u8]) -> Result<(RpcResponseHeader, &[u8]), Malformed> {
    let header = RpcResponseHeader::decode_length_delimited(&mut frame)?;
    Ok((header, frame))
}

/// The message of an answer: all that is behind its header.
pub fn message<M: Message + Default>(mut rest: &[u8]) -> Result<M, Malformed> {
    let message = M::decode_length_delimited(&mut rest)?;
    if !rest.is_empty() {
        return Err(Malformed::Other("an answer with bytes behind its message"));
    }
    Ok(message)
}
