//! What Hadoop's servers and files say: frames, challenges, protected packets,
//! files of tokens. The first byte of an input chooses.

use anyhow::Context;
use heddle_yarn::rpc::{Challenge, frame};
use heddle_yarn::token::Credentials;
use std::path::Path;

const KINDS: u8 = 4;

/// What real servers said, from `proto/golden/hadoop`.
pub fn seeds() -> anyhow::Result<Vec<Vec<u8>>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/golden/hadoop/master.txt");
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let mut seeds = Vec::new();
    for line in text.lines() {
        if let Some(frame) = line.strip_prefix("S> ").and_then(|rest| rest.split(' ').nth(1)) {
            // Without its length.
            seeds.push([vec![0], bytes(frame)?.split_off(4)].concat());
        }
        if let Some(("tokenfile(v0)" | "tokenfile(pb)", file)) = line.split_once('=') {
            seeds.push([vec![1], bytes(file)?].concat());
        }
    }
    let challenge = "realm=\"default\",nonce=\"abc\",qop=\"auth,auth-int,auth-conf\",charset=utf-8,\
                     algorithm=md5-sess,cipher=\"rc4,3des\",maxbuf=65536";
    seeds.push([&[2], challenge.as_bytes()].concat());
    seeds.push([&[3], challenge.as_bytes(), &[0], &[7; 24]].concat());
    Ok(seeds)
}

fn bytes(hex: &str) -> anyhow::Result<Vec<u8>> {
    let pairs = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16));
    pairs.collect::<Result<_, _>>().context("hexadecimal digits")
}

pub fn run(input: &[u8]) -> String {
    let Some((kind, rest)) = input.split_first() else { return "too short".to_owned() };
    match kind % KINDS {
        0 => match frame::response(rest) {
            Ok((header, message)) => {
                assert!(message.len() < rest.len(), "a message longer than its frame");
                format!("frame {:?}", header.status())
            }
            Err(error) => error.to_string(),
        },
        1 => match Credentials::read(rest) {
            Ok(credentials) => {
                assert_eq!(Credentials::read(&credentials.write()).as_ref(), Ok(&credentials));
                format!("{} tokens", credentials.tokens.len().min(3))
            }
            Err(error) => error.to_string(),
        },
        2 => match Challenge::parse(rest) {
            Ok(challenge) => {
                let (response, session) = challenge.respond("user", "password", "/default", "cnonce");
                assert!(response.contains("response="), "{response}");
                assert!(session.verify(rest).is_err(), "a challenge is no proof");
                format!("challenge {:?}", challenge.protection)
            }
            Err(error) => error.to_string(),
        },
        _ => {
            let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            let (challenge, packet) = rest.split_at(end);
            let Ok(challenge) = Challenge::parse(challenge) else { return "no challenge".to_owned() };
            let (_, session) = challenge.respond("user", "password", "/default", "cnonce");
            let Some(mut layer) = session.into_layer() else { return "no protection".to_owned() };
            match layer.unwrap(packet) {
                Ok(plain) => panic!("nobody knows the key of {plain:?}"),
                Err(error) => error.to_string(),
            }
        }
    }
}
