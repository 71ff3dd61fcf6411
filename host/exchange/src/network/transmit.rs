//! Frames into a socket: several at once, batches straight from their memory.

use crate::wire::Encoded;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use tokio::net::TcpStream;

/// Frames of one system call; each has two parts.
const FRAMES_AT_ONCE: usize = 32;
/// What may wait to be written. It is outside of every channel's credit, so
/// it is little, but enough for the kernel to work on.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// Frames that may wait before no more is read of a peer that has to be
/// answered. Data takes a part of it only.
const ANSWERS_MAX: usize = 8 * 1024;
/// Frames that may wait for a peer at all: as many as it takes to request all
/// channels that a producer allows, and their credit. One that does not read
/// is not waited for.
const FRAMES_MAX: usize = 1_000_000;

#[derive(Default)]
pub(crate) struct FrameWriter {
    frames: VecDeque<Encoded>,
    /// Of the first frame.
    written: usize,
    waiting: usize,
}

impl FrameWriter {
    pub fn push(&mut self, frame: Encoded) {
        self.waiting += frame.len();
        self.frames.push_back(frame);
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn has_room(&self) -> bool {
        self.waiting < WAITING_BYTES_MAX
    }

    pub fn has_room_for_answers(&self) -> bool {
        self.frames.len() < ANSWERS_MAX
    }

    pub fn is_stuck(&self) -> bool {
        self.frames.len() > FRAMES_MAX
    }

    /// Writes until everything is written or the socket takes no more, which
    /// is `WouldBlock`.
    pub fn write(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.frames.is_empty() {
            let mut parts = [IoSlice::new(&[]); 2 * FRAMES_AT_ONCE];
            let mut count = 0;
            for frame in self.frames.iter().take(FRAMES_AT_ONCE) {
                parts[count] = IoSlice::new(frame.head());
                count += 1;
                if !frame.body.is_empty() {
                    parts[count] = IoSlice::new(&frame.body);
                    count += 1;
                }
            }
            let mut parts = &mut parts[..count];
            IoSlice::advance_slices(&mut parts, self.written);
            let written = stream.try_write_vectored(parts)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.advance(written);
        }
        Ok(())
    }

    fn advance(&mut self, written: usize) {
        self.waiting -= written;
        self.written += written;
        while let Some(first) = self.frames.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.frames.pop_front();
        }
    }
}
