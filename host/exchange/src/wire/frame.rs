//! Frames: a header of 16 bytes and a body. Little-endian.

use super::WireError;
use bytes::{Buf, Bytes, BytesMut};
use heddle_model::batch;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{DatasetId, ExecutionAttemptId, JobId, ResultPartitionId, VertexId};

pub const HEADER_LENGTH: usize = 16;
/// Longest body of a data frame: the longest batch that there is.
pub const BATCH_LENGTH_MAX: u32 = batch::MAX_LENGTH as u32;
/// What travels of a failure's message, bytes.
pub const MESSAGE_LENGTH_MAX: usize = 4 * 1024;
/// What travels of a failure's details, bytes.
pub const DETAILS_LENGTH_MAX: usize = 16 * 1024;

const REQUEST_LENGTH: u32 = 72;
const CREDIT_LENGTH: u32 = 12;
/// Reason, zeros, code, length of the message.
const FAILURE_HEAD: u32 = 12;
const FAILURE_LENGTH_MAX: u32 = FAILURE_HEAD + (MESSAGE_LENGTH_MAX + DETAILS_LENGTH_MAX) as u32;

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number,)* }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

numbered! {
    /// What a frame is.
    Kind {
        Request = 1,
        Credit = 2,
        Close = 3,
        Ping = 4,
        Accepted = 5,
        Data = 6,
        End = 7,
        Failed = 8,
    }
}

impl Kind {
    /// Fewest and most bytes of its body.
    const fn lengths(self) -> (u32, u32) {
        match self {
            Kind::Request => (REQUEST_LENGTH, REQUEST_LENGTH),
            Kind::Credit => (CREDIT_LENGTH, CREDIT_LENGTH),
            Kind::Ping | Kind::Accepted | Kind::End => (0, 0),
            Kind::Data => (1, BATCH_LENGTH_MAX),
            Kind::Close | Kind::Failed => (FAILURE_HEAD, FAILURE_LENGTH_MAX),
        }
    }
}

numbered! {
    /// Why a channel broke.
    Reason {
        /// The task at the other end failed or went away.
        PeerGone = 1,
        /// The partition was freed.
        Released = 2,
        /// The channel can not be read.
        Refused = 3,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the body.
    pub length: u32,
    pub kind: Kind,
    pub channel: u32,
    /// Of data and end: how many frames of these kinds came before in the channel.
    pub sequence: u32,
}

impl Header {
    pub fn decode(bytes: &[u8; HEADER_LENGTH]) -> Result<Self, WireError> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let kind = Kind::from_number(bytes[4]).ok_or(WireError::Kind(bytes[4]))?;
        let reserved = [bytes[5], bytes[6], bytes[7]];
        if reserved != [0; 3] {
            return Err(WireError::Reserved(reserved));
        }
        let (length, (least, most)) = (number(0), kind.lengths());
        if length < least || length > most {
            return Err(WireError::Length { kind, length, least, most });
        }
        Ok(Self { length, kind, channel: number(8), sequence: number(12) })
    }

    fn encode(self) -> [u8; HEADER_LENGTH] {
        let mut bytes = [0; HEADER_LENGTH];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind as u8;
        bytes[8..12].copy_from_slice(&self.channel.to_le_bytes());
        bytes[12..].copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }
}

/// Batches, and their bytes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub batches: u32,
    pub bytes: u64,
}

impl Load {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.batches += 1;
        self.bytes += bytes;
    }

    /// False, and nothing is changed: more than there is.
    #[must_use]
    pub(crate) fn subtract(&mut self, part: Load) -> bool {
        let rest = self.batches.checked_sub(part.batches).zip(self.bytes.checked_sub(part.bytes));
        let Some((batches, bytes)) = rest else { return false };
        *self = Load { batches, bytes };
        true
    }
}

/// What a consumer sets aside for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub batches: u32,
    pub bytes: u64,
}

impl Window {
    /// Whether a batch of this length may be sent while this much is unread.
    /// One that is longer than what is left goes when half of the window is
    /// free: its consumer gives credit back in halves.
    pub fn admits(self, unread: Load, length: u64) -> bool {
        unread.batches < self.batches
            && (unread.bytes + length <= self.bytes || unread.bytes <= self.bytes / 2)
    }

    /// Whether so much was read that it is worth to be told.
    pub(crate) fn is_half(self, read: Load) -> bool {
        read.batches >= (self.batches / 2).max(1) || read.bytes > self.bytes / 2
    }
}

/// One message of a connection. Channels are numbered by the consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Consumer: I want to read this subpartition.
    Request { channel: u32, partition: ResultPartitionId, subpartition: u32, window: Window },
    /// Consumer: I have read this much.
    Credit { channel: u32, read: Load },
    /// Consumer: I read no more, and why.
    Close { channel: u32, cause: Failure },
    /// Both: I live.
    Ping,
    /// Producer: the partition is there.
    Accepted { channel: u32 },
    /// Producer: a batch.
    Data { channel: u32, sequence: u32, batch: Bytes },
    /// Producer: nothing comes behind this.
    End { channel: u32, sequence: u32 },
    /// Producer: the channel is broken.
    Failed { channel: u32, reason: Reason, cause: Failure },
}

/// A frame as it is sent: its header, with a short body, and the rest of it.
#[derive(Clone, Debug)]
pub struct Encoded {
    head: [u8; HEADER_LENGTH + CREDIT_LENGTH as usize],
    head_length: u8,
    pub body: Bytes,
}

impl Encoded {
    fn new(kind: Kind, channel: u32, sequence: u32, body: Bytes) -> Self {
        let mut head = [0; _];
        let header = Header { length: body.len() as u32, kind, channel, sequence };
        head[..HEADER_LENGTH].copy_from_slice(&header.encode());
        Self { head, head_length: HEADER_LENGTH as u8, body }
    }

    pub fn head(&self) -> &[u8] {
        &self.head[..usize::from(self.head_length)]
    }

    pub fn len(&self) -> usize {
        usize::from(self.head_length) + self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    /// The frame in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        [self.head(), &self.body].concat()
    }
}

impl Frame {
    pub fn encode(self) -> Encoded {
        match self {
            Frame::Request { channel, partition, subpartition, window } => {
                let body = request(partition, subpartition, window);
                Encoded::new(Kind::Request, channel, 0, body)
            }
            Frame::Credit { channel, read } => {
                let mut encoded = Encoded::new(Kind::Credit, channel, 0, Bytes::new());
                let body = &mut encoded.head;
                body[..4].copy_from_slice(&CREDIT_LENGTH.to_le_bytes());
                body[HEADER_LENGTH..HEADER_LENGTH + 4].copy_from_slice(&read.batches.to_le_bytes());
                body[HEADER_LENGTH + 4..].copy_from_slice(&read.bytes.to_le_bytes());
                encoded.head_length = body.len() as u8;
                encoded
            }
            Frame::Close { channel, cause } => {
                Encoded::new(Kind::Close, channel, 0, failure(Reason::PeerGone, &cause))
            }
            Frame::Ping => Encoded::new(Kind::Ping, 0, 0, Bytes::new()),
            Frame::Accepted { channel } => Encoded::new(Kind::Accepted, channel, 0, Bytes::new()),
            Frame::Data { channel, sequence, batch } => Encoded::new(Kind::Data, channel, sequence, batch),
            Frame::End { channel, sequence } => Encoded::new(Kind::End, channel, sequence, Bytes::new()),
            Frame::Failed { channel, reason, cause } => {
                Encoded::new(Kind::Failed, channel, 0, failure(reason, &cause))
            }
        }
    }

    /// `body` has the length that the header says.
    pub fn decode(header: Header, mut body: Bytes) -> Result<Self, WireError> {
        let (least, most) = header.kind.lengths();
        let length = body.len() as u32;
        if length < least || length > most {
            return Err(WireError::Length { kind: header.kind, length, least, most });
        }
        let (channel, sequence) = (header.channel, header.sequence);
        Ok(match header.kind {
            Kind::Request => {
                let dataset_id = DatasetId(body.get_u128_le());
                let producer = ExecutionAttemptId {
                    job_id: JobId(body.get_u128_le()),
                    vertex_id: VertexId(body.get_u128_le()),
                    subtask: body.get_u32_le(),
                    attempt: body.get_u32_le(),
                };
                let subpartition = body.get_u32_le();
                let window = Window { batches: body.get_u32_le(), bytes: body.get_u64_le() };
                let partition = ResultPartitionId { dataset_id, producer };
                Frame::Request { channel, partition, subpartition, window }
            }
            Kind::Credit => {
                let read = Load { batches: body.get_u32_le(), bytes: body.get_u64_le() };
                Frame::Credit { channel, read }
            }
            Kind::Close => Frame::Close { channel, cause: decode_failure(body)?.1 },
            Kind::Ping => Frame::Ping,
            Kind::Accepted => Frame::Accepted { channel },
            Kind::Data => Frame::Data { channel, sequence, batch: body },
            Kind::End => Frame::End { channel, sequence },
            Kind::Failed => {
                let (reason, cause) = decode_failure(body)?;
                Frame::Failed { channel, reason, cause }
            }
        })
    }

    pub fn kind(&self) -> Kind {
        match self {
            Frame::Request { .. } => Kind::Request,
            Frame::Credit { .. } => Kind::Credit,
            Frame::Close { .. } => Kind::Close,
            Frame::Ping => Kind::Ping,
            Frame::Accepted { .. } => Kind::Accepted,
            Frame::Data { .. } => Kind::Data,
            Frame::End { .. } => Kind::End,
            Frame::Failed { .. } => Kind::Failed,
        }
    }
}

fn request(partition: ResultPartitionId, subpartition: u32, window: Window) -> Bytes {
    let mut body = BytesMut::with_capacity(REQUEST_LENGTH as usize);
    let producer = partition.producer;
    for id in [partition.dataset_id.0, producer.job_id.0, producer.vertex_id.0] {
        body.extend_from_slice(&id.to_le_bytes());
    }
    for number in [producer.subtask, producer.attempt, subpartition, window.batches] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.extend_from_slice(&window.bytes.to_le_bytes());
    body.freeze()
}

fn failure(reason: Reason, cause: &Failure) -> Bytes {
    let message = cut(&cause.message, MESSAGE_LENGTH_MAX);
    let details = cut(cause.details.as_deref().unwrap_or(""), DETAILS_LENGTH_MAX);
    let mut body = BytesMut::with_capacity(FAILURE_HEAD as usize + message.len() + details.len());
    body.extend_from_slice(&[reason as u8, 0, 0, 0]);
    // `H3005` is 3005.
    let code: u32 = cause.code.text()[1..].parse().unwrap_or_default();
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(message.len() as u32).to_le_bytes());
    body.extend_from_slice(message.as_bytes());
    body.extend_from_slice(details.as_bytes());
    body.freeze()
}

fn decode_failure(mut body: Bytes) -> Result<(Reason, Failure), WireError> {
    let reason = body.get_u8();
    let reason = Reason::from_number(reason).ok_or(WireError::Reason(reason))?;
    let mut reserved = [0; 3];
    body.copy_to_slice(&mut reserved);
    if reserved != [0; 3] {
        return Err(WireError::Reserved(reserved));
    }
    let code = format!("H{}", body.get_u32_le());
    // A newer peer may have codes that this one does not know.
    let code = ErrorCode::ALL.iter().copied().find(|known| known.text() == code);
    let code = code.unwrap_or(ErrorCode::Internal);
    let length = body.get_u32_le() as usize;
    if length > body.len() || length > MESSAGE_LENGTH_MAX {
        return Err(WireError::FailureCut);
    }
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| WireError::NotText);
    let failure = Failure::new(code, text(&body[..length])?);
    let details = text(&body[length..])?;
    Ok((reason, if details.is_empty() { failure } else { failure.with_details(details) }))
}

/// The first bytes of a text, at most so many, whole characters.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
