//! The bytes of `proto/exchange.md`: greetings and frames, encoded and decoded.
//! Nothing here knows sockets, tasks or time. What is decoded comes from a
//! peer that may be anything: nothing panics, and every length is bounded
//! before memory is set aside for it.

mod frame;
mod greeting;

pub use frame::{
    BATCH_LENGTH_MAX, DETAILS_LENGTH_MAX, Encoded, Frame, HEADER_LENGTH, Header, Kind, Load,
    MESSAGE_LENGTH_MAX, Reason, Window,
};
pub use greeting::{ANSWER_HEAD_LENGTH, Answer, GREETING_HEAD_LENGTH, Greeting, Status, VERSION};

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("it starts with {found:02x?}, not with a greeting of Heddle's exchange")]
    Magic { found: [u8; 4] },
    #[error("a greeting says that {length} bytes follow, at most {most} may")]
    GreetingLength { length: u32, most: u32 },
    #[error("a greeting ends within a name")]
    GreetingCut,
    #[error("a name is not UTF-8")]
    NotText,
    #[error("there is no status {0}")]
    Status(u32),
    #[error("there is no frame of kind {0}")]
    Kind(u8),
    #[error("a header has {0:02x?} where zeros belong")]
    Reserved([u8; 3]),
    #[error("a frame {kind:?} has {length} bytes, allowed are {least} to {most}")]
    Length { kind: Kind, length: u32, least: u32, most: u32 },
    #[error("a failure ends before its text does")]
    FailureCut,
    #[error("there is no reason {0}")]
    Reason(u8),
    #[error("a frame {0:?} does not go in this direction")]
    Direction(Kind),
    #[error("channel {0} is in use already")]
    ChannelInUse(u32),
    #[error("channel {0} was never requested")]
    NoSuchChannel(u32),
    #[error("something comes of channel {0}, which was not accepted")]
    NotAccepted(u32),
    #[error("more than {0} channels are open")]
    TooManyChannels(usize),
    #[error("channel {0} asks for no buffer")]
    NoWindow(u32),
    #[error("frame {found} of channel {channel} came where {expected} belongs")]
    Sequence { channel: u32, expected: u32, found: u32 },
    #[error("channel {channel} has no credit for a batch of {length} bytes")]
    NoCredit { channel: u32, length: u32 },
    #[error("channel {0} is given more credit than it used")]
    TooMuchCredit(u32),
}
