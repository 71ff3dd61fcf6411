//! The lists of bytes of the contract's `state` interface. A key is
//! `hash: u32, length: u32, bytes`, a value `length: u32, bytes`, all
//! little-endian. Guests write them, so no length is believed.

use crate::error::Error;

/// The length that says that there is no value.
pub const NO_VALUE: u32 = u32::MAX;

/// Most bytes that cross in one call, in either direction: a host call cannot
/// be interrupted, and its answer is the host's memory.
pub const MAX_CALL_BYTES: usize = 64 * 1024 * 1024;

/// Reads entries off a list.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    entry: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(list: &'a [u8]) -> Result<Self, Error> {
        if list.len() > MAX_CALL_BYTES {
            return Err(Error::CallTooLong { length: list.len(), limit: MAX_CALL_BYTES });
        }
        Ok(Self { rest: list, entry: 0 })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Hash and bytes of the next key; an entry begins with it.
    #[inline]
    pub(crate) fn key(&mut self) -> Result<(u32, &'a [u8]), Error> {
        let Some((head, rest)) = self.rest.split_first_chunk::<8>() else {
            return Err(self.malformed("head", 8));
        };
        let head = u64::from_le_bytes(*head);
        self.rest = rest;
        let key = self.bytes((head >> 32) as u32, "key")?;
        self.entry += 1;
        Ok((head as u32, key))
    }

    /// The next value, if there is one in its place.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Option<&'a [u8]>, Error> {
        let Some((length, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(self.malformed("value's length", 4));
        };
        self.rest = rest;
        match u32::from_le_bytes(*length) {
            NO_VALUE => Ok(None),
            length => self.bytes(length, "value").map(Some),
        }
    }

    #[inline]
    fn bytes(&mut self, length: u32, part: &'static str) -> Result<&'a [u8], Error> {
        let Some((bytes, rest)) = self.rest.split_at_checked(length as usize) else {
            return Err(self.malformed(part, u64::from(length)));
        };
        self.rest = rest;
        Ok(bytes)
    }

    fn malformed(&self, part: &'static str, needed: u64) -> Error {
        Error::Malformed { entry: self.entry, part, needed, left: self.rest.len() }
    }
}

#[inline]
pub(crate) fn write_value(answer: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => answer.extend_from_slice(&NO_VALUE.to_le_bytes()),
        Some(value) => {
            answer.extend_from_slice(&(value.len() as u32).to_le_bytes());
            answer.extend_from_slice(value);
        }
    }
}

pub(crate) fn write_entry(answer: &mut Vec<u8>, hash: u32, key: &[u8], value: &[u8]) {
    answer.extend_from_slice(&hash.to_le_bytes());
    answer.extend_from_slice(&(key.len() as u32).to_le_bytes());
    answer.extend_from_slice(key);
    write_value(answer, Some(value));
}
