//! Who offers what, and what is answered: the messages of Hadoop's SASL around
//! DIGEST-MD5, purely. Knows no socket.

use crate::messages::rpc::RpcSasl;
use crate::messages::rpc::rpc_sasl::{SaslAuth, SaslState};
use crate::rpc::digest::{self, Challenge, Layer, Session};
use crate::token::Token;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Servers offer a handful.
const OFFERS_MAX: usize = 16;

/// The client's first message.
pub fn negotiate() -> RpcSasl {
    RpcSasl { version: None, state: SaslState::Negotiate.into(), token: None, auths: Vec::new() }
}

/// A way that is not open has its reason.
pub type Refusal = String;

/// Answers the server's offers with a token. `cnonce` is random.
pub fn initiate(offers: RpcSasl, token: &Token, cnonce: &str) -> Result<(RpcSasl, Session), Refusal> {
    if offers.state() != SaslState::Negotiate || offers.auths.len() > OFFERS_MAX {
        return Err(format!("it answers {:?} where it should make offers", offers.state()));
    }
    let methods: Vec<String> = offers.auths.iter().map(|auth| auth.method.clone()).collect();
    let mut offer: SaslAuth = offers
        .auths
        .into_iter()
        .find(|auth| auth.method == "TOKEN" && auth.mechanism == "DIGEST-MD5")
        .ok_or_else(|| format!("it does not take tokens, only {}", methods.join(", ")))?;
    let challenge = offer.challenge.take().unwrap_or_default();
    let challenge = Challenge::parse(&challenge).map_err(|error| error.to_string())?;
    let uri = format!(
        "{}/{}",
        offer.protocol.as_deref().unwrap_or_default(),
        offer.server_id.as_deref().unwrap_or_default()
    );
    let user = STANDARD.encode(token.identifier());
    let password = STANDARD.encode(token.password());
    let (response, session) = challenge.respond(&user, &password, &uri, cnonce);
    let message = RpcSasl {
        version: None,
        state: SaslState::Initiate.into(),
        token: Some(response.into_bytes()),
        auths: vec![offer],
    };
    Ok((message, session))
}

/// Reads the server's last message.
pub fn finish(answer: &RpcSasl, session: Session) -> Result<Option<Layer>, Refusal> {
    match answer.state() {
        SaslState::Success => {
            session.verify(answer.token()).map_err(|error: digest::Error| error.to_string())
        }
        other => Err(format!("it answers {other:?} where it should accept")),
    }
}

/// A protected packet as a message.
pub fn wrapped(packet: Vec<u8>) -> RpcSasl {
    RpcSasl { version: None, state: SaslState::Wrap.into(), token: Some(packet), auths: Vec::new() }
}
