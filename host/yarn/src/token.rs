//! Tokens, and the files in which Hadoop hands them to processes. Pure; knows
//! two forms of one file, Hadoop's own and protobuf.

use crate::messages::rpc;
use prost::Message;
use std::collections::BTreeMap;
use std::fmt;

/// The environment variable that names a container's file of tokens.
pub const FILE_VARIABLE: &str = "HADOOP_TOKEN_FILE_LOCATION";

const MAGIC: &[u8; 4] = b"HDTS";
const WRITABLE: u8 = 0;
const PROTOBUF: u8 = 1;

/// The right to speak to a service. Its password is in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    identifier: Vec<u8>,
    password: Vec<u8>,
    kind: String,
    service: String,
}

/// A token of the application master for the ResourceManager.
pub const AM_RM: &str = "YARN_AM_RM_TOKEN";

impl Token {
    pub fn new(identifier: Vec<u8>, password: Vec<u8>, kind: &str, service: &str) -> Self {
        Self { identifier, password, kind: kind.to_owned(), service: service.to_owned() }
    }

    pub fn identifier(&self) -> &[u8] {
        &self.identifier
    }

    pub fn password(&self) -> &[u8] {
        &self.password
    }

    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Where it is valid; for some kinds blank.
    pub fn service(&self) -> &str {
        &self.service
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, service, .. } = self;
        f.debug_struct("Token").field("kind", kind).field("service", service).finish_non_exhaustive()
    }
}

impl From<rpc::Token> for Token {
    fn from(token: rpc::Token) -> Self {
        let rpc::Token { identifier, password, kind, service } = token;
        Self { identifier, password, kind, service }
    }
}

impl From<Token> for rpc::Token {
    fn from(token: Token) -> Self {
        let Token { identifier, password, kind, service } = token;
        Self { identifier, password, kind, service }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it is not a file of Hadoop tokens")]
    Magic,
    #[error("it is of version {0}; 0 and 1 are known")]
    Version(u8),
    #[error("it ends in the middle of {0}")]
    Short(&'static str),
    #[error("{0} is not UTF-8")]
    Text(&'static str),
    #[error("it cannot be read: {0}")]
    Protobuf(#[from] prost::DecodeError),
}

/// What a file of tokens holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// By alias, often the service.
    pub tokens: BTreeMap<String, Token>,
    secrets: BTreeMap<String, Vec<u8>>,
}

impl Credentials {
    /// Reads a file's content.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(Error::Magic)?;
        match rest.split_first() {
            Some((&WRITABLE, rest)) => Self::read_writable(rest),
            Some((&PROTOBUF, rest)) => Self::read_protobuf(rest),
            Some((version, _)) => Err(Error::Version(*version)),
            None => Err(Error::Short("its version")),
        }
    }

    fn read_writable(mut rest: &[u8]) -> Result<Self, Error> {
        let rest = &mut rest;
        let mut credentials = Self::default();
        for _ in 0..count(rest)? {
            let alias = text(rest, "an alias")?;
            let identifier = bytes(rest, "an identifier")?.to_vec();
            let password = bytes(rest, "a password")?.to_vec();
            let (kind, service) = (text(rest, "a kind")?, text(rest, "a service")?);
            credentials.tokens.insert(alias, Token { identifier, password, kind, service });
        }
        for _ in 0..count(rest)? {
            let alias = text(rest, "an alias")?;
            credentials.secrets.insert(alias, bytes(rest, "a secret")?.to_vec());
        }
        Ok(credentials)
    }

    fn read_protobuf(mut rest: &[u8]) -> Result<Self, Error> {
        let message = rpc::Credentials::decode_length_delimited(&mut rest)?;
        let tokens = message.tokens.into_iter().filter_map(|pair| Some((pair.alias, pair.token?.into())));
        let secrets = message.secrets.into_iter().filter_map(|pair| Some((pair.alias, pair.secret?)));
        Ok(Self { tokens: tokens.collect(), secrets: secrets.collect() })
    }

    /// The form that every version of Hadoop reads.
    pub fn write(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(WRITABLE);
        put_vint(&mut out, self.tokens.len());
        for (alias, token) in &self.tokens {
            put(&mut out, alias.as_bytes());
            put(&mut out, &token.identifier);
            put(&mut out, &token.password);
            put(&mut out, token.kind.as_bytes());
            put(&mut out, token.service.as_bytes());
        }
        put_vint(&mut out, self.secrets.len());
        for (alias, secret) in &self.secrets {
            put(&mut out, alias.as_bytes());
            put(&mut out, secret);
        }
        out
    }

    /// A token by its kind: the service of some is blank.
    pub fn of_kind(&self, kind: &str) -> Option<&Token> {
        self.tokens.values().find(|token| token.kind == kind)
    }
}

fn count(rest: &mut &[u8]) -> Result<i64, Error> {
    vint(rest).ok_or(Error::Short("a number"))
}

fn bytes<'a>(rest: &mut &'a [u8], what: &'static str) -> Result<&'a [u8], Error> {
    let length = vint(rest).and_then(|length| usize::try_from(length).ok()).ok_or(Error::Short(what))?;
    let (bytes, behind) = rest.split_at_checked(length).ok_or(Error::Short(what))?;
    *rest = behind;
    Ok(bytes)
}

fn text(rest: &mut &[u8], what: &'static str) -> Result<String, Error> {
    let bytes = bytes(rest, what)?;
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Error::Text(what))
}

/// Hadoop's number of variable length: one byte from −112 to 127, or a byte
/// that says sign and length, and so many bytes.
fn vint(rest: &mut &[u8]) -> Option<i64> {
    let (first, behind) = rest.split_first()?;
    let first = i64::from(*first as i8);
    if first >= -112 {
        *rest = behind;
        return Some(first);
    }
    let (is_negative, length) = if first < -120 { (true, -120 - first) } else { (false, -112 - first) };
    let (bytes, behind) = behind.split_at_checked(length as usize)?;
    *rest = behind;
    let value = bytes.iter().fold(0_i64, |value, byte| value << 8 | i64::from(*byte));
    Some(if is_negative { !value } else { value })
}

fn put_vint(out: &mut Vec<u8>, value: usize) {
    if value < 128 {
        out.push(value as u8);
        return;
    }
    let bytes = value.to_be_bytes();
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    out.push((-112_i8 - bytes.len() as i8) as u8);
    out.extend(bytes);
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_vint(out, bytes.len());
    out.extend(bytes);
}
