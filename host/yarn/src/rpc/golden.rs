//! What a real client and a real server said to each other
//! (`proto/golden/hadoop/master.txt`), said again with Heddle's code.

use crate::messages::rpc::{IpcConnectionContext, RequestHeader, RpcSasl, UserInformation};
use crate::messages::yarn;
use crate::rpc::digest::Challenge;
use crate::rpc::error::Remote;
use crate::rpc::frame::{self, CONNECTION_CONTEXT, SASL};
use crate::rpc::sasl;
use crate::token::{Credentials, Token};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const CAPTURE: &str = include_str!("../../../../proto/golden/hadoop/master.txt");

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// What was said, by each side in turn; `from` 0 is the first connection.
fn said(from: usize) -> Vec<Vec<u8>> {
    let connection = CAPTURE.split("connection\n").nth(from + 1).unwrap();
    connection.lines().filter_map(|line| line.split(' ').nth(2)).map(bytes).collect()
}

fn token() -> Token {
    let line = CAPTURE.lines().find(|line| line.starts_with("token ")).unwrap();
    let part = |name: &str| line.split(' ').find_map(|part| part.strip_prefix(name)).unwrap();
    Token::new(bytes(part("id=")), bytes(part("pw=")), part("kind="), part("service="))
}

fn answer(bytes: &[u8]) -> &[u8] {
    assert_eq!(frame::length(bytes).unwrap(), Some(bytes.len() - 4));
    &bytes[4..]
}

#[test]
fn the_login_with_a_token_is_that_of_the_real_client() {
    let said = said(0);
    let mut start = frame::preamble(true).to_vec();
    start.extend(frame::frame(&frame::header(SASL, &[], -1), Some(&sasl::negotiate())));
    assert_eq!(start, said[0]);

    let (header, rest) = frame::response(answer(&said[1])).unwrap();
    assert_eq!(header.call_id as i32, SASL);
    let offers: RpcSasl = frame::message(rest).unwrap();
    let text = String::from_utf8_lossy(&said[2]).into_owned();
    let cnonce = text.split("cnonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let (response, session) = sasl::initiate(offers, &token(), cnonce).unwrap();
    assert_eq!(frame::frame(&frame::header(SASL, &[], -1), Some(&response)), said[2]);

    let (_, rest) = frame::response(answer(&said[3])).unwrap();
    let accepted: RpcSasl = frame::message(rest).unwrap();
    assert!(sasl::finish(&accepted, session).unwrap().is_none());
}

#[test]
fn a_server_that_does_not_know_the_password_is_left() {
    let said = said(0);
    let (_, rest) = frame::response(answer(&said[1])).unwrap();
    let offers: RpcSasl = frame::message(rest).unwrap();
    let (_, session) = sasl::initiate(offers, &token(), "another").unwrap();
    let (_, rest) = frame::response(answer(&said[3])).unwrap();
    let accepted: RpcSasl = frame::message(rest).unwrap();
    assert!(sasl::finish(&accepted, session).is_err());
}

#[test]
fn context_and_call_are_those_of_the_real_client() {
    let said = said(0);
    let context = frame::length(&said[4]).unwrap().unwrap() + 4;
    // Field 4 of the header, 16 bytes.
    let client_id = said[4].windows(18).find(|bytes| bytes[..2] == [0x22, 0x10]).unwrap()[2..].to_vec();
    let message = IpcConnectionContext {
        user_info: Some(UserInformation { effective_user: None, real_user: None }),
        protocol: Some("org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB".to_owned()),
    };
    let header = frame::header(CONNECTION_CONTEXT, &client_id, -1);
    assert_eq!(frame::frame(&header, Some(&message)), said[4][..context]);

    let method = RequestHeader {
        method_name: "registerApplicationMaster".to_owned(),
        declaring_class_protocol_name: "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB".to_owned(),
        client_protocol_version: 1,
    };
    let register = yarn::RegisterApplicationMasterRequest {
        host: Some("amhost".to_owned()),
        rpc_port: Some(1234),
        tracking_url: Some("http://amhost:8081".to_owned()),
    };
    let call = frame::call(&frame::header(0, &client_id, 0), &method, &register);
    assert_eq!(call, said[4][context..]);

    let (header, rest) = frame::response(answer(&said[5])).unwrap();
    assert_eq!(header.call_id, 0);
    let registered: yarn::RegisterApplicationMasterResponse = frame::message(rest).unwrap();
    let maximum = registered.maximum_capability.unwrap();
    assert_eq!((maximum.memory(), maximum.virtual_cores()), (8192, 4));
    assert_eq!(registered.queue.as_deref(), Some("default"));
    let (_, rest) = frame::response(answer(&said[7])).unwrap();
    let allocated: yarn::AllocateResponse = frame::message(rest).unwrap();
    assert_eq!(allocated.response_id, Some(1));
}

#[test]
fn a_refusal_has_the_class_and_the_message() {
    let said = said(1);
    let (header, _) = frame::response(answer(&said[1])).unwrap();
    let class = header.exception_class_name().to_owned();
    let remote = Remote::new("rm:8030", "registerApplicationMaster", class, header.error_msg());
    assert_eq!(
        remote.to_string(),
        "rm:8030 refused registerApplicationMaster: AccessControlException: \
         SIMPLE authentication is not enabled.  Available:[TOKEN]"
    );
}

#[test]
fn both_forms_of_a_token_file_are_read() {
    let file = |name: &str| {
        let line = CAPTURE.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        bytes(line)
    };
    let (writable, protobuf) = (file("tokenfile(v0)="), file("tokenfile(pb)="));
    let credentials = Credentials::read(&writable).unwrap();
    assert_eq!(credentials, Credentials::read(&protobuf).unwrap());
    assert_eq!(credentials.of_kind(crate::token::AM_RM), Some(&token()));
    assert_eq!(credentials.write(), writable);
    let shown = format!("{credentials:?}");
    assert!(!shown.contains(&format!("{:?}", token().password())), "{shown}");
    for length in 0..writable.len() {
        assert!(Credentials::read(&writable[..length]).is_err(), "{length}");
    }
}

#[test]
fn protection_is_undone_by_the_other_end_only() {
    // A server's layer is a client's with its two ways exchanged; a packet sent
    // out must not be one that came back.
    let text = b"nonce=\"n\",qop=\"auth,auth-int,auth-conf\",algorithm=md5-sess,cipher=\"rc4,3des\"";
    let challenge = Challenge::parse(text).unwrap();
    let user = STANDARD.encode(b"id");
    let (response, session) = challenge.respond(&user, "secret", "/default", "c");
    assert!(response.ends_with("qop=auth-conf,cipher=\"rc4\""), "{response}");
    assert!(session.verify(b"rspauth=0").is_err());
}
