//! How keys and values travel to the host's state and back; see `interface
//! state` of the contract.

use crate::batch::hash::KeyRef;

/// Length that says that there is no value.
const NONE: u32 = u32::MAX;

pub(crate) fn put_key(hash: u32, key: &KeyRef, out: &mut Vec<u8>) {
    out.extend_from_slice(&hash.to_le_bytes());
    out.extend_from_slice(&key.len.to_le_bytes());
    key.write(out);
}

/// Appends a value that `write` appends; `None` says that there is none.
pub(crate) fn put_value(out: &mut Vec<u8>, write: Option<&dyn Fn(&mut Vec<u8>)>) {
    let at = out.len();
    out.extend_from_slice(&NONE.to_le_bytes());
    if let Some(write) = write {
        write(out);
        let length = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Goes through what the host gave.
pub(crate) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn word(&mut self) -> u32 {
        let (word, rest) = self.rest.split_at(4);
        self.rest = rest;
        u32::from_le_bytes(word.try_into().expect("four bytes"))
    }

    fn bytes(&mut self, length: u32) -> &'b [u8] {
        let (bytes, rest) = self.rest.split_at(length as usize);
        self.rest = rest;
        bytes
    }

    /// The next value.
    pub(crate) fn value(&mut self) -> Option<&'b [u8]> {
        match self.word() {
            NONE => None,
            length => Some(self.bytes(length)),
        }
    }

    /// The next key: its hash and its bytes.
    pub(crate) fn key(&mut self) -> (u32, &'b [u8]) {
        let hash = self.word();
        let length = self.word();
        (hash, self.bytes(length))
    }
}
