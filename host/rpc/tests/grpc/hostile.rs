//! Whatever comes to the port: the connection ends, a counter rises, and the
//! others go on.

use crate::fakes::{LONG, Process, Recorder, client, options};
use heddle_rpc::grpc::{Limits, Options, PROTOCOL_VERSION, Role};
use heddle_rpc::{Address, RpcService};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A process with a dispatcher that answers.
struct Target {
    process: Process,
    address: Address,
    recorder: Arc<Recorder>,
}

impl Target {
    async fn start(change: impl FnOnce(&mut Limits)) -> Self {
        let mut options = options(Role::JobManager);
        change(&mut options.limits);
        let process = Process::start(Options { ..options }).await;
        let address = process.address("dispatcher");
        let recorder = Arc::new(Recorder::default());
        process.serve_dispatcher(address.clone(), recorder.clone());
        Self { process, address, recorder }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.process.local_address()).await.unwrap()
    }

    /// Sends the bytes and reads until the other end closes.
    async fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // It may close before it has read all.
        let _ = stream.write_all(bytes).await;
        closed(&mut stream).await
    }

    /// The well-behaved are answered all the while.
    async fn check(&self, bad: u64) {
        let metrics = self.process.metrics();
        while metrics.bad_connections.get() + metrics.connections_lost.get() < bad {
            tokio::task::yield_now().await;
        }
        assert_eq!(metrics.bad_connections.get() + metrics.connections_lost.get(), bad);
        assert!(client().dispatcher(&self.address).unwrap().list_jobs().await.is_ok());
    }
}

/// What still comes until the other end closes the connection.
async fn closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut bytes)).await;
    // A reset is an end as well.
    let _ = read.expect("the connection is closed");
    bytes
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let target = Target::start(|_| ()).await;
    let mut noise = Vec::new();
    let mut state = 0x9e37_79b9_u32;
    for _ in 0..100_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.push((state >> 24) as u8);
    }
    let samples: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"SSH-2.0-OpenSSH_9.6\r\nthis is not what you think it is\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS client hello, or so",
        &noise,
        &[PREFACE, &noise].concat(),
    ];
    for (sent, sample) in samples.iter().enumerate() {
        target.send(sample).await;
        target.check(sent as u64 + 1).await;
    }
    assert_eq!(target.process.metrics().bad_connections.get(), samples.len() as u64);
}

#[tokio::test]
async fn an_oversized_frame_ends_the_connection() {
    let target = Target::start(|_| ()).await;
    // The header of a frame of 16 MiB, the longest that the format can tell.
    let header = [0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1];
    target.send(&[PREFACE, SETTINGS, &header].concat()).await;
    target.check(1).await;
    assert_eq!(target.process.metrics().bad_connections.get(), 1);
}

#[tokio::test]
async fn a_connection_that_never_speaks_ends() {
    let target = Target::start(|limits| limits.handshake_timeout = Duration::from_millis(50)).await;
    let halves: [&[u8]; 3] = [b"", &PREFACE[..10], &[PREFACE, &SETTINGS[..5]].concat()];
    for (sent, half) in halves.iter().enumerate() {
        let mut stream = target.connect().await;
        stream.write_all(half).await.unwrap();
        closed(&mut stream).await;
        target.check(sent as u64 + 1).await;
    }
    assert_eq!(target.process.metrics().bad_connections.get(), 3);
}

#[tokio::test]
async fn half_a_message_ends_with_its_connection() {
    let target = Target::start(|limits| limits.keep_alive_interval = Duration::from_millis(50)).await;
    // A frame that is announced and does not come; pings are not answered.
    let half = [PREFACE, SETTINGS, &[0, 1, 0, 0, 0, 0, 0, 0, 1], &[0; 10]].concat();
    target.send(&half).await;
    target.check(1).await;
    // The other end is cut off in the middle of it.
    let mut stream = target.connect().await;
    stream.write_all(&half).await.unwrap();
    stream.shutdown().await.unwrap();
    closed(&mut stream).await;
    target.check(2).await;
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let target = Target::start(|limits| limits.max_connections = 2).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut stream = target.connect().await;
        stream.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
        // Its own settings: the connection is taken.
        stream.read_exact(&mut [0; 9]).await.unwrap();
        kept.push(stream);
    }
    assert_eq!(closed(&mut target.connect().await).await, b"");
    assert_eq!(target.process.metrics().connections_refused.get(), 1);
    assert_eq!(target.process.metrics().connections_accepted.get(), 2);
    // One that ends makes room.
    kept.pop();
    while client().dispatcher(&target.address).unwrap().list_jobs().await.is_err() {}
}

#[tokio::test]
async fn calls_that_make_no_sense_are_refused_and_counted() {
    let target = Target::start(|_| ()).await;
    let mut stream = target.connect().await;
    stream.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
    let call = |stream: u32, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
        let mut literal = |name: &str, value: &str| {
            block.push(0);
            for text in [name, value] {
                assert!(text.len() < 127);
                block.push(text.len() as u8);
                block.extend(text.as_bytes());
            }
        };
        literal(":path", path);
        literal(":authority", "x");
        literal("content-type", "application/grpc");
        headers.iter().for_each(|(name, value)| literal(name, value));
        [frame(1, 4, stream, &block), frame(0, 1, stream, body)].concat()
    };
    let version = PROTOCOL_VERSION.to_string();
    let introduced = [("heddle-protocol", version.as_str()), ("heddle-role", "client")];
    let list = "/heddle.rpc.Dispatcher/ListJobs";
    let calls = [
        // Nobody introduces itself.
        call(1, list, &[], &[0; 5]),
        // No such service, no such method.
        call(3, "/no.such.Service/At", &introduced, &[0; 5]),
        call(5, "/heddle.rpc.Dispatcher/NoSuchMethod", &introduced, &[0; 5]),
        call(7, "/", &introduced, &[0; 5]),
        // Not a message, half a message, a message of 4 GiB, a compressed one.
        call(9, list, &introduced, &[0, 0, 0, 0, 3, 0xff, 0xff, 0xff]),
        call(11, list, &introduced, &[0, 0, 0, 0, 9, 1]),
        call(13, list, &introduced, &[0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]),
        call(15, list, &introduced, &[1, 0, 0, 0, 0]),
        // An upload without a head, and one without a sense.
        call(17, "/heddle.rpc.Dispatcher/PutBlob", &introduced, &[]),
        call(19, "/heddle.rpc.Dispatcher/PutBlob", &introduced, &[0, 0, 0, 0, 2, 0x12, 0]),
    ];
    stream.write_all(&calls.concat()).await.unwrap();
    let metrics = target.process.metrics();
    while metrics.calls_refused.get() < calls.len() as u64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(metrics.calls_refused.get(), calls.len() as u64);
    assert_eq!(metrics.calls_received.get(), 0);
    assert!(target.recorder.calls().is_empty());
    // The connection lives, for its frames were in order.
    stream
        .write_all(&call(
            21,
            list,
            &introduced,
            &[0, 0, 0, 0, 12, 10, 10, b'd', b'i', b's', b'p', b'a', b't', b'c', b'h', b'e', b'r'],
        ))
        .await
        .unwrap();
    while target.recorder.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(metrics.bad_connections.get(), 0);
}

#[tokio::test]
async fn a_flood_of_calls_that_are_taken_back_ends_the_connection() {
    let target = Target::start(|_| ()).await;
    let mut flood = [PREFACE, SETTINGS].concat();
    for stream in (1..20_001).step_by(2) {
        // Opened and reset, before anything can be answered.
        flood.extend(frame(1, 4, stream, &[0x83, 0x86, 0x84, 0x41, 1, b'x']));
        flood.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    target.send(&flood).await;
    target.check(1).await;
    assert!(target.recorder.calls().len() <= 1);
}

#[tokio::test]
async fn a_header_without_end_ends_the_connection() {
    let target = Target::start(|_| ()).await;
    let mut endless = [PREFACE, SETTINGS].concat();
    endless.extend(frame(1, 0, 1, &[0x83, 0x86, 0x84]));
    for _ in 0..10_000 {
        endless.extend(frame(9, 0, 1, &[0; 100]));
    }
    target.send(&endless).await;
    target.check(1).await;
}
