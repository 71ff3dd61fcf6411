//! The text of an address on a network: `heddle://host:port/endpoint`.
//!
//! The endpoint names a role's instance in its process: `dispatcher`,
//! `resourcemanager`, `blobserver`, `taskexecutor/<resource id>`,
//! `jobmaster/<job id>/<leader>`. It is compared, never taken apart.

use crate::{Address, Error};

const SCHEME: &str = "heddle://";

/// An address taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkAddress<'a> {
    /// `host:port`; an IPv6 address stands in brackets.
    pub(crate) authority: &'a str,
    pub(crate) endpoint: &'a str,
}

impl<'a> NetworkAddress<'a> {
    /// Nothing can answer at what is not an address.
    pub(crate) fn parse(address: &'a Address) -> Result<Self, Error> {
        let unreachable = || Error::Unreachable { address: address.clone() };
        let rest = address.0.strip_prefix(SCHEME).ok_or_else(unreachable)?;
        let (authority, endpoint) = rest.split_once('/').ok_or_else(unreachable)?;
        if endpoint.is_empty() || !is_authority(authority) {
            return Err(unreachable());
        }
        Ok(Self { authority, endpoint })
    }

    pub(crate) fn to_address(authority: &str, endpoint: &str) -> Address {
        Address(format!("{SCHEME}{authority}/{endpoint}"))
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

pub(crate) fn is_authority(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let plain = !host.is_empty() && !host.contains([':', '@', '[', ']', ' ']);
    (bracketed || plain) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_put_together() {
        for (text, authority, endpoint) in [
            ("heddle://localhost:6123/dispatcher", "localhost:6123", "dispatcher"),
            ("heddle://[::1]:1/taskexecutor/a_b", "[::1]:1", "taskexecutor/a_b"),
            ("heddle://10.0.0.7:65535/jobmaster/1/2", "10.0.0.7:65535", "jobmaster/1/2"),
        ] {
            let address = Address(text.into());
            assert_eq!(NetworkAddress::parse(&address), Ok(NetworkAddress { authority, endpoint }));
            assert_eq!(NetworkAddress::to_address(authority, endpoint), address);
        }
        assert_eq!(authority("::1", 7), "[::1]:7");
        assert_eq!(authority("a.b", 7), "a.b:7");
    }

    #[test]
    fn nothing_answers_at_what_is_no_address() {
        for text in [
            "",
            "embedded:dispatcher",
            "heddle://",
            "heddle://host/dispatcher",
            "heddle://host:0/dispatcher",
            "heddle://host:6123",
            "heddle://host:6123/",
            "heddle://:6123/dispatcher",
            "heddle://user@host:6123/dispatcher",
            "heddle://a:b:6123/dispatcher",
            "heddle://host:66666/dispatcher",
        ] {
            let address = Address(text.into());
            assert_eq!(NetworkAddress::parse(&address), Err(Error::Unreachable { address: address.clone() }));
        }
    }
}
