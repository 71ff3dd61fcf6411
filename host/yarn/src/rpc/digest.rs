//! SASL DIGEST-MD5 (RFC 2831), the client's side, purely: from a challenge to
//! a response, the check of the server's proof, and the protection of what
//! follows. Knows nothing of frames; random numbers are passed in.

use crate::rpc::rc4::Rc4;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use std::fmt::Write;

/// RFC 2831 allows no longer challenge.
const CHALLENGE_BYTES_MAX: usize = 2048;
/// The first and only use of a nonce.
const NONCE_COUNT: &str = "00000001";
/// What Heddle takes in one protected packet, decoded.
const BUFFER_BYTES_MAX: u32 = 65_536;
/// Behind each protected packet: 10 bytes of check, 2 of type, 4 of number.
const CHECK_BYTES: usize = 10;
const TRAILER_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a DIGEST-MD5 challenge that cannot be read: {0}")]
    Challenge(&'static str),
    #[error("the server offers no protection that is known here: {0}")]
    Unsupported(&'static str),
    #[error("the server does not know the token's password either")]
    Proof,
    #[error("a protected packet that is not the server's: {0}")]
    Packet(&'static str),
}

/// How what follows is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protection {
    Authentication,
    Integrity,
    Privacy,
}

impl Protection {
    fn name(self) -> &'static str {
        match self {
            Protection::Authentication => "auth",
            Protection::Integrity => "auth-int",
            Protection::Privacy => "auth-conf",
        }
    }
}

/// What the server asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub realm: String,
    pub nonce: String,
    /// The strongest on offer.
    pub protection: Protection,
    /// The most that the server takes in one packet.
    pub buffer_bytes: u32,
}

impl Challenge {
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > CHALLENGE_BYTES_MAX {
            return Err(Error::Challenge("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Error::Challenge("it is not UTF-8"))?;
        let (mut realm, mut nonce, mut qop, mut algorithm, mut cipher, mut buffer) =
            (None, None, None, None, None, None);
        for (name, value) in directives(text)? {
            let place = match name.as_str() {
                "realm" => &mut realm,
                "nonce" => &mut nonce,
                "qop" => &mut qop,
                "algorithm" => &mut algorithm,
                "cipher" => &mut cipher,
                "maxbuf" => &mut buffer,
                _ => continue,
            };
            // Several realms may be offered; the first will do.
            if place.is_none() {
                *place = Some(value);
            } else if name == "nonce" {
                return Err(Error::Challenge("two nonces"));
            }
        }
        if algorithm.as_deref() != Some("md5-sess") {
            return Err(Error::Unsupported("the algorithm is not md5-sess"));
        }
        let qop = qop.unwrap_or_else(|| "auth".to_owned());
        let has = |list: &str, wanted: &str| list.split(',').any(|one| one.trim() == wanted);
        let protection = [Protection::Privacy, Protection::Integrity, Protection::Authentication]
            .into_iter()
            .find(|protection| has(&qop, protection.name()))
            .ok_or(Error::Unsupported("none of auth, auth-int, auth-conf"))?;
        if protection == Protection::Privacy && !cipher.is_some_and(|ciphers| has(&ciphers, "rc4")) {
            return Err(Error::Unsupported("the cipher rc4 is not offered"));
        }
        let buffer_bytes = match buffer {
            None => 65_536,
            Some(text) => text.parse().map_err(|_| Error::Challenge("maxbuf is no number"))?,
        };
        if buffer_bytes as usize <= 2 * TRAILER_BYTES {
            return Err(Error::Challenge("maxbuf is too small"));
        }
        Ok(Self {
            realm: realm.unwrap_or_default(),
            nonce: nonce.filter(|nonce| !nonce.is_empty()).ok_or(Error::Challenge("no nonce"))?,
            protection,
            buffer_bytes,
        })
    }

    /// The response, and what the connection needs from then on. `uri` is
    /// `protocol/host` of the server's offer; `cnonce` is random.
    pub fn respond(&self, user: &str, password: &str, uri: &str, cnonce: &str) -> (String, Session) {
        let mut secret =
            md5(&[user.as_bytes(), b":", self.realm.as_bytes(), b":", password.as_bytes()]).to_vec();
        secret.extend(format!(":{}:{cnonce}", self.nonce).as_bytes());
        let key = md5(&[&secret]);
        let qop = self.protection.name();
        let suffix = if self.protection == Protection::Authentication {
            ""
        } else {
            ":00000000000000000000000000000000"
        };
        let proof = |of: &str| {
            let request = hex(&md5(&[of.as_bytes(), b":", uri.as_bytes(), suffix.as_bytes()]));
            let text = format!("{}:{}:{NONCE_COUNT}:{cnonce}:{qop}:{request}", hex(&key), self.nonce);
            hex(&md5(&[text.as_bytes()]))
        };
        let mut response = "charset=utf-8".to_owned();
        for (name, value) in [("username", user), ("realm", &self.realm), ("nonce", &self.nonce)] {
            // A String takes all that is written to it.
            let _ = write!(response, ",{name}={}", quoted(value));
        }
        let _ = write!(
            response,
            ",nc={NONCE_COUNT},cnonce={},digest-uri={},maxbuf={BUFFER_BYTES_MAX},response={},qop={qop}",
            quoted(cnonce),
            quoted(uri),
            proof("AUTHENTICATE"),
        );
        if self.protection == Protection::Privacy {
            response += ",cipher=\"rc4\"";
        }
        let session = Session {
            expected: format!("rspauth={}", proof("")),
            layer: Layer::new(self.protection, &key, self.buffer_bytes),
        };
        (response, session)
    }
}

/// A response that was sent.
pub struct Session {
    expected: String,
    layer: Option<Layer>,
}

impl Session {
    /// What protects the rest of the connection, whoever the server is.
    pub fn into_layer(self) -> Option<Layer> {
        self.layer
    }

    /// Checks that the server knows the password too; gives what protects the
    /// rest of the connection, if anything does.
    pub fn verify(self, proof: &[u8]) -> Result<Option<Layer>, Error> {
        if proof == self.expected.as_bytes() { Ok(self.into_layer()) } else { Err(Error::Proof) }
    }
}

/// Integrity or privacy of a connection's two directions.
pub struct Layer {
    out: Direction,
    back: Direction,
    /// The most bytes in one packet that is sent.
    pub packet_bytes_max: usize,
}

struct Direction {
    check: [u8; 16],
    cipher: Option<Rc4>,
    number: u32,
}

impl Layer {
    fn new(protection: Protection, key: &[u8; 16], buffer_bytes: u32) -> Option<Self> {
        if protection == Protection::Authentication {
            return None;
        }
        let direction = |way: &str| {
            let check = format!("Digest session key to {way} signing key magic constant");
            let seal = format!("Digest H(A1) to {way} sealing key magic constant");
            let cipher = (protection == Protection::Privacy).then(|| Rc4::new(&md5(&[key, seal.as_bytes()])));
            Direction { check: md5(&[key, check.as_bytes()]), cipher, number: 0 }
        };
        let (out, back) = (direction("client-to-server"), direction("server-to-client"));
        Some(Self {
            out,
            back,
            packet_bytes_max: buffer_bytes.min(BUFFER_BYTES_MAX) as usize - TRAILER_BYTES,
        })
    }

    /// A packet of some bytes.
    pub fn wrap(&mut self, bytes: &[u8]) -> Vec<u8> {
        let direction = &mut self.out;
        let mut packet = bytes.to_vec();
        packet.extend(direction.sum(bytes));
        if let Some(cipher) = &mut direction.cipher {
            cipher.apply(&mut packet);
        }
        packet.extend([0, 1]);
        packet.extend(direction.number.to_be_bytes());
        direction.number = direction.number.wrapping_add(1);
        packet
    }

    /// What a packet of the server holds.
    pub fn unwrap(&mut self, packet: &[u8]) -> Result<Vec<u8>, Error> {
        let direction = &mut self.back;
        let Some(length) = packet.len().checked_sub(TRAILER_BYTES) else {
            return Err(Error::Packet("it is too short"));
        };
        let (sealed, trailer) = packet.split_at(length + CHECK_BYTES);
        if trailer[..2] != [0, 1] || trailer[2..] != direction.number.to_be_bytes() {
            return Err(Error::Packet("its number is not the next one"));
        }
        let mut plain = sealed.to_vec();
        if let Some(cipher) = &mut direction.cipher {
            cipher.apply(&mut plain);
        }
        let sum = plain.split_off(length);
        if sum != direction.sum(&plain) {
            return Err(Error::Packet("its check fails"));
        }
        direction.number = direction.number.wrapping_add(1);
        Ok(plain)
    }
}

impl Direction {
    fn sum(&self, bytes: &[u8]) -> Vec<u8> {
        let mut mac = Hmac::<Md5>::new_from_slice(&self.check).expect("any key will do");
        mac.update(&self.number.to_be_bytes());
        mac.update(bytes);
        mac.finalize().into_bytes()[..CHECK_BYTES].to_vec()
    }
}

/// `name=value` or `name="value"`, with commas between.
fn directives(text: &str) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            return Ok(found);
        }
        let (name, behind) = rest.split_once('=').ok_or(Error::Challenge("a name without a value"))?;
        let value = if let Some(behind) = behind.strip_prefix('"') {
            let (value, behind) = unquoted(behind)?;
            rest = behind;
            value
        } else {
            let end = behind.find(',').unwrap_or(behind.len());
            rest = &behind[end..];
            behind[..end].trim().to_owned()
        };
        found.push((name.trim().to_ascii_lowercase(), value));
    }
}

fn unquoted(text: &str) -> Result<(String, &str), Error> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.push(letters.next().ok_or(Error::Challenge("a lone backslash"))?.1),
            other => value.push(other),
        }
    }
    Err(Error::Challenge("a quote that is not closed"))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
