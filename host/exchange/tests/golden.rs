//! The samples of `proto/golden/exchange/messages.json`: each is what it says, and none
//! has changed since it was written. `UPDATE_EXPECT=1` writes them anew, after
//! a new version of the protocol.

use bytes::Bytes;
use heddle_exchange::wire::{
    ANSWER_HEAD_LENGTH, Answer, Frame, GREETING_HEAD_LENGTH, Greeting, HEADER_LENGTH, Header, Load, Reason,
    Status, Window, WireError,
};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{DatasetId, ExecutionAttemptId, JobId, ResourceId, ResultPartitionId, VertexId};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

fn greeting(bytes: &[u8]) -> Result<String, WireError> {
    let (head, body) = bytes.split_first_chunk::<GREETING_HEAD_LENGTH>().expect("a whole head");
    let (version, length) = Greeting::decode_head(head)?;
    let body = Bytes::copy_from_slice(&body[..length]);
    Greeting::decode_body(version, body).map(|greeting| format!("{greeting:?}"))
}

fn answer(bytes: &[u8]) -> Result<String, WireError> {
    let (head, body) = bytes.split_first_chunk::<ANSWER_HEAD_LENGTH>().expect("a whole head");
    let (version, status, length) = Answer::decode_head(head)?;
    let body = Bytes::copy_from_slice(&body[..length]);
    Answer::decode_body(version, status, body).map(|answer| format!("{answer:?}"))
}

fn frame(bytes: &[u8]) -> Result<String, WireError> {
    let (head, body) = bytes.split_first_chunk::<HEADER_LENGTH>().expect("a whole header");
    let header = Header::decode(head)?;
    Frame::decode(header, Bytes::copy_from_slice(body)).map(|frame| format!("{frame:?}"))
}

type Decode = fn(&[u8]) -> Result<String, WireError>;

struct Sample {
    name: &'static str,
    decode: Decode,
    bytes: Vec<u8>,
}

fn request() -> Frame {
    let producer =
        ExecutionAttemptId { job_id: JobId(0x0a), vertex_id: VertexId(0x0b), subtask: 3, attempt: 1 };
    Frame::Request {
        channel: 5,
        partition: ResultPartitionId { dataset_id: DatasetId(0x0c), producer },
        subpartition: 2,
        window: Window { batches: 4, bytes: 131_072 },
    }
}

fn samples() -> Vec<Sample> {
    let names = || (ResourceId("te-1".into()), ResourceId("te-2".into()));
    let hello = Greeting { version: 1, cluster_id: "c1".into(), from: names().0, to: names().1 };
    let reply = |status| Answer { version: 1, status, from: names().1 };
    let failure = Failure::new(ErrorCode::OperatorTrap, "it trapped").with_details("in line 3");
    let frames = [
        ("request", request()),
        ("credit", Frame::Credit { channel: 5, read: Load { batches: 2, bytes: 65_000 } }),
        ("close", Frame::Close { channel: 5, cause: Failure::new(ErrorCode::MemoryLimit, "voll: größer") }),
        ("ping", Frame::Ping),
        ("accepted", Frame::Accepted { channel: 5 }),
        ("data", Frame::Data { channel: 5, sequence: 7, batch: Bytes::from_static(b"batch") }),
        ("end", Frame::End { channel: 5, sequence: 8 }),
        ("failed", Frame::Failed { channel: 5, reason: Reason::PeerGone, cause: failure }),
    ];
    let mut samples = vec![
        Sample { name: "greeting", decode: greeting, bytes: hello.encode() },
        Sample { name: "answer-welcome", decode: answer, bytes: reply(Status::Welcome).encode() },
        Sample { name: "answer-version", decode: answer, bytes: reply(Status::Version).encode() },
        Sample {
            name: "answer-cluster",
            decode: answer,
            bytes: Answer { from: ResourceId(String::new()), ..reply(Status::Cluster) }.encode(),
        },
        Sample { name: "answer-not-me", decode: answer, bytes: reply(Status::NotMe).encode() },
    ];
    samples.extend(frames.map(|(name, sample)| Sample {
        name,
        decode: frame,
        bytes: sample.encode().to_vec(),
    }));

    let with = |bytes: Vec<u8>, at: usize, change: &[u8]| {
        let mut bytes = bytes;
        bytes[at..at + change.len()].copy_from_slice(change);
        bytes
    };
    let (hello, request) = (hello.encode(), request().encode().to_vec());
    let failed = samples.last().expect("there are samples").bytes.clone();
    let refused: [(&'static str, Decode, Vec<u8>); 10] = [
        ("bad-greeting-magic", greeting, with(hello.clone(), 0, b"GET ")),
        ("bad-greeting-length", greeting, with(hello.clone(), 8, &[0xff; 4])),
        ("bad-greeting-cut", greeting, with(hello.clone(), 12, &[0xff, 0])),
        ("bad-greeting-text", greeting, with(hello, 14, &[0xff])),
        ("bad-answer-status", answer, with(reply(Status::Welcome).encode(), 8, &[9])),
        ("bad-kind", frame, with(request.clone(), 4, &[9])),
        ("bad-reserved", frame, with(request.clone(), 6, &[1])),
        ("bad-length", frame, with(request, 0, &[71])),
        ("bad-failure-cut", frame, with(failed.clone(), 24, &[20, 0])),
        ("bad-reason", frame, with(failed, 16, &[4])),
    ];
    samples.extend(refused.map(|(name, decode, bytes)| Sample { name, decode, bytes }));
    samples
}

fn described(samples: &[Sample]) -> Value {
    let mut all = Map::new();
    for sample in samples {
        let bytes: String = sample.bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let description = match (sample.decode)(&sample.bytes) {
            Ok(meaning) => json!({ "bytes": bytes, "is": meaning }),
            Err(error) => json!({ "bytes": bytes, "error": error.to_string() }),
        };
        all.insert(sample.name.to_owned(), description);
    }
    Value::Object(all)
}

#[test]
fn no_sample_has_changed() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/golden/exchange/messages.json");
    let samples = samples();
    let now = described(&samples);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, format!("{now:#}\n")).expect("the folder can be written");
    }
    let stored: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("it is there")).expect("JSON");
    assert_eq!(stored, now);
    for sample in samples {
        let refused = stored[sample.name].get("error").is_some();
        assert_eq!(refused, sample.name.starts_with("bad-"), "{}", sample.name);
    }
}
