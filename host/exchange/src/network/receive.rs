//! Frames out of a socket: what is read becomes the batch's own memory, with
//! no copy in between. Knows lengths only; who may send what is decided by
//! whoever admits a header.

use crate::wire::{Frame, HEADER_LENGTH, Header, WireError};
use bytes::Bytes;
use socket2::{MaybeUninitSlice, SockRef};
use std::io;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What is read ahead of a frame whose header has not been seen. Large enough
/// for many small frames at once.
const STAGING: usize = 32 * 1024;
/// A body from this length on is read into its own memory; only the header
/// behind it is read with it. What is read into the staging buffer is copied.
const LARGE: u32 = 8 * 1024;

/// What becomes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Keep,
    /// It is read, and thrown away.
    Discard,
}

enum Body {
    /// A header comes next.
    None,
    Kept(Header, Vec<u8>),
    Discarded(usize),
}

pub(crate) struct FrameReader {
    staging: Vec<u8>,
    /// Bytes of `staging` that were used up.
    used: usize,
    body: Body,
}

impl FrameReader {
    pub fn new() -> Self {
        Self { staging: Vec::with_capacity(STAGING), used: 0, body: Body::None }
    }

    /// The next frame of what was read; none if more must be read first.
    pub fn next_frame<E: From<WireError>>(
        &mut self,
        mut admit: impl FnMut(&Header) -> Result<Admission, E>,
    ) -> Result<Option<Frame>, E> {
        loop {
            match &mut self.body {
                Body::Kept(header, body) if body.len() == header.length as usize => {
                    let (header, body) = (*header, std::mem::take(body));
                    self.body = Body::None;
                    return Ok(Some(Frame::decode(header, Bytes::from(body))?));
                }
                Body::Kept(..) => return Ok(None),
                Body::Discarded(left) => {
                    let part = (*left).min(self.staging.len() - self.used);
                    self.used += part;
                    *left -= part;
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.body = Body::None;
                }
                Body::None => {
                    let Some(head) = self.staging[self.used..].first_chunk::<HEADER_LENGTH>() else {
                        return Ok(None);
                    };
                    let header = Header::decode(head)?;
                    self.used += HEADER_LENGTH;
                    let length = header.length as usize;
                    self.body = match admit(&header)? {
                        Admission::Discard => Body::Discarded(length),
                        Admission::Keep => {
                            let mut body = Vec::with_capacity(length);
                            let part = length.min(self.staging.len() - self.used);
                            body.extend_from_slice(&self.staging[self.used..self.used + part]);
                            self.used += part;
                            Body::Kept(header, body)
                        }
                    };
                }
            }
        }
    }

    /// Reads once what the socket has. 0: the peer has closed it.
    /// `WouldBlock`: it has nothing.
    pub fn read(&mut self, stream: &TcpStream) -> io::Result<usize> {
        self.staging.drain(..self.used);
        self.used = 0;
        let mut nothing = Vec::new();
        let (body, missing, ahead) = match &mut self.body {
            Body::Kept(header, body) => {
                let missing = header.length as usize - body.len();
                (body, missing, if header.length < LARGE { STAGING } else { HEADER_LENGTH })
            }
            Body::None | Body::Discarded(_) => (&mut nothing, 0, STAGING),
        };
        let ahead = ahead.min(STAGING - self.staging.len());
        let read = stream.try_io(Interest::READABLE, || {
            let mut buffers = [
                MaybeUninitSlice::new(&mut body.spare_capacity_mut()[..missing]),
                MaybeUninitSlice::new(&mut self.staging.spare_capacity_mut()[..ahead]),
            ];
            let buffers = if missing == 0 { &mut buffers[1..] } else { &mut buffers[..] };
            Ok(SockRef::from(stream).recv_vectored(buffers)?.0)
        })?;
        let of_body = read.min(missing);
        // SAFETY: the kernel has filled the first `read` bytes of the spare
        // capacity of both, in this order, and no more than was offered.
        unsafe {
            body.set_len(body.len() + of_body);
            self.staging.set_len(self.staging.len() + read - of_body);
        }
        Ok(read)
    }
}
