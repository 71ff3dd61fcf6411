//! Peers that are something else, or mean harm: their connection ends, a
//! counter rises, and nothing else happens.

use crate::harness::*;
use bytes::Bytes;
use heddle_exchange::wire::{Answer, Encoded, Frame, Greeting, Load, Reason, Status, VERSION, Window};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::ResourceId;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn greeting() -> Greeting {
    Greeting {
        version: VERSION,
        cluster_id: "test".into(),
        from: ResourceId("evil".into()),
        to: ResourceId("there".into()),
    }
}

/// Connects, says this, and reads until the connection ends.
async fn say(process: &Process, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&process.address.0).await.unwrap();
    let mut answer = Vec::new();
    soon("the connection ends", async {
        // Both may fail: it ends the connection at the first wrong byte.
        let _ = stream.write_all(bytes).await;
        let _ = stream.read_to_end(&mut answer).await;
    })
    .await;
    answer
}

async fn still_works(process: &Process) {
    let here = Process::start("fine").await;
    let producer = process.register(77, 1);
    let mut gate = here.connect(&gate(&[(process, id(77))], 0)).await.unwrap();
    producer.try_send(0, batch("fine")).unwrap();
    assert_eq!(next_text(&mut gate).await, "fine");
    producer.finish();
    while gate.next().await.unwrap() != heddle_exchange::GateEvent::EndOfGate {}
    drop((producer, gate));
    process.is_clean().await;
}

#[tokio::test]
async fn strangers_are_turned_away() {
    let there = Process::start("there").await;
    let too_long = [&greeting().encode()[..8], &u32::MAX.to_le_bytes()].concat();
    let cut_name = {
        let mut bytes = greeting().encode();
        let at = bytes.len() - 8;
        bytes[at..].copy_from_slice(&[0xff; 8]);
        bytes
    };
    let garbage: &[&[u8]] = &[b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0; 100], &too_long, &cut_name];
    for (index, bytes) in garbage.iter().enumerate() {
        assert_eq!(say(&there, bytes).await, b"", "{index}");
        assert_eq!(there.counts().turned_away, index as u64 + 1);
    }
    assert_eq!(there.counts().accepted, 0);
    still_works(&there).await;
}

#[tokio::test]
async fn another_version_is_told_both() {
    let there = Process::start("there").await;
    let answer = say(&there, &Greeting { version: 9, ..greeting() }.encode()).await;
    let expected = Answer { version: VERSION, status: Status::Version, from: there.name.clone() };
    assert_eq!(answer, expected.encode());
    assert_eq!(there.counts().turned_away, 1);
}

#[tokio::test]
async fn a_connection_that_never_speaks_is_ended() {
    let mut quick = options("there");
    quick.greeting_timeout = Duration::from_millis(50);
    let there = Process::with(quick).await;
    let mut silent = TcpStream::connect(&there.address.0).await.unwrap();
    let mut half = TcpStream::connect(&there.address.0).await.unwrap();
    half.write_all(&greeting().encode()[..20]).await.unwrap();
    for stream in [&mut silent, &mut half] {
        assert_eq!(soon("its end", stream.read(&mut [0; 8])).await.unwrap_or(0), 0);
    }
    until("they are counted", || there.counts().turned_away == 2).await;
    still_works(&there).await;
}

#[tokio::test]
async fn strangers_are_bounded() {
    let there = Process::start("there").await;
    let mut streams = Vec::new();
    for _ in 0..300 {
        streams.push(TcpStream::connect(&there.address.0).await.unwrap());
    }
    until("those beyond the limit are closed", || there.counts().turned_away == 300 - 256).await;
    drop(streams);
    still_works(&there).await;
}

fn request(channel: u32, subtask: u32) -> Frame {
    Frame::Request {
        channel,
        partition: id(subtask),
        subpartition: 0,
        window: Window { batches: 2, bytes: 2048 },
    }
}

#[tokio::test]
async fn a_consumer_that_breaks_the_protocol_loses_its_connection_only() {
    let there = Process::start("there").await;
    let read = |batches, bytes| Load { batches, bytes };
    let cause = Failure::new(ErrorCode::PeerGone, "x");
    let no_window = Frame::Request {
        channel: 0,
        partition: id(0),
        subpartition: 0,
        window: Window { batches: 0, bytes: 1 },
    };
    let mut cases: Vec<Vec<u8>> = vec![
        Frame::Data { channel: 0, sequence: 0, batch: batch("x") }.encode().to_vec(),
        Frame::Failed { channel: 0, reason: Reason::Released, cause: cause.clone() }.encode().to_vec(),
        no_window.encode().to_vec(),
        [request(0, 0).encode().to_vec(), request(0, 0).encode().to_vec()].concat(),
        [request(0, 0).encode().to_vec(), Frame::Credit { channel: 0, read: read(1, 0) }.encode().to_vec()]
            .concat(),
        [request(0, 0).encode().to_vec(), Frame::Credit { channel: 0, read: read(0, 1) }.encode().to_vec()]
            .concat(),
        vec![0xff; 64],
    ];
    // Lengths that do not fit the kind, an unknown kind, a reserved byte.
    for (at, value) in [(0, 73), (3, 0x7f), (4, 0), (4, 200), (6, 1)] {
        let mut bytes = request(0, 0).encode().to_vec();
        bytes[at] = value;
        cases.push(bytes);
    }
    // A failure whose text is longer than the frame, and one without a reason.
    for (at, value) in [(16 + 8, 200), (16, 9)] {
        let mut bytes = Frame::Close { channel: 0, cause: cause.clone() }.encode().to_vec();
        bytes[at] = value;
        cases.push(bytes);
    }
    for (index, case) in cases.iter().enumerate() {
        let bytes = [&greeting().encode()[..], case].concat();
        say(&there, &bytes).await;
        until("it is counted", || there.counts().broke_protocol == index as u64 + 1).await;
    }
    still_works(&there).await;
}

#[tokio::test]
async fn a_consumer_that_goes_in_the_middle_of_a_frame_breaks_what_it_read() {
    let there = Process::start("there").await;
    let producer = there.register(0, 1);
    let mut stream = TcpStream::connect(&there.address.0).await.unwrap();
    stream.write_all(&greeting().encode()).await.unwrap();
    stream.write_all(&request(5, 0).encode().to_vec()).await.unwrap();
    stream.write_all(&request(6, 1).encode().to_vec()[..40]).await.unwrap();
    until("it is attached", || there.counts().accepted == 1).await;
    producer.try_send(0, batch("1")).unwrap();
    let mut answer =
        vec![0; Answer { version: 1, status: Status::Welcome, from: there.name.clone() }.encode().len()];
    stream.read_exact(&mut answer).await.unwrap();
    drop(stream);
    let error = soon("the producer hears of it", async {
        loop {
            if let Err(error) = producer.send(0, batch("x")).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(Failure::from(error).code, ErrorCode::ConnectionLost);
    drop(producer);
    there.is_clean().await;
}

/// A producer's process of which every byte is ours.
async fn evil_producer(frames: Vec<Encoded>) -> (String, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 4096];
        read_some(&mut stream).await;
        let answer = Answer { version: VERSION, status: Status::Welcome, from: ResourceId("evil".into()) };
        stream.write_all(&answer.encode()).await.unwrap();
        // The request.
        read_some(&mut stream).await;
        for frame in frames {
            if stream.write_all(&frame.to_vec()).await.is_err() {
                return;
            }
        }
        while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    });
    (address, tasks)
}

#[tokio::test]
async fn a_producer_that_breaks_the_protocol_loses_its_connection_only() {
    let data = |channel, sequence, length| {
        Frame::Data { channel, sequence, batch: Bytes::from(vec![0; length]) }.encode()
    };
    let accepted = || Frame::Accepted { channel: 0 }.encode();
    let within = BATCH as usize;
    let cases: Vec<(&str, Vec<Encoded>)> = vec![
        ("has no credit", {
            let mut frames = vec![accepted()];
            frames.extend((0..=BUFFERS).map(|number| data(0, number, within)));
            frames
        }),
        ("has no credit", vec![accepted(), data(0, 0, 3 * within), data(0, 1, 3 * within)]),
        ("of channel 0, which was not accepted", vec![data(0, 0, 1)]),
        ("of channel 0, which was not accepted", vec![Frame::End { channel: 0, sequence: 0 }.encode()]),
        ("frame 1 of channel 0 came where 0 belongs", vec![accepted(), data(0, 1, 1)]),
        (
            "frame 7 of channel 0 came where 0 belongs",
            vec![accepted(), Frame::End { channel: 0, sequence: 7 }.encode()],
        ),
        ("channel 3 was never requested", vec![accepted(), data(3, 0, 1)]),
        ("does not go in this direction", vec![accepted(), request(0, 0).encode()]),
        (
            "does not go in this direction",
            vec![accepted(), Frame::Credit { channel: 0, read: Load::default() }.encode()],
        ),
    ];
    for (expected, frames) in cases {
        let here = Process::start("here").await;
        let (address, _tasks) = evil_producer(frames).await;
        let error = match here.connect(&gate_at("evil", &address, id(0))).await {
            // Nothing is read, so that no credit goes back.
            Ok(mut gate) => {
                until("it is counted", || here.counts().broke_protocol == 1).await;
                next_error(&mut gate).await
            }
            Err(error) => error,
        };
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.to_string().contains("the other end broke the protocol"), "{error}");
        assert_eq!(here.counts().broke_protocol, 1, "{expected}");
        here.is_clean().await;
    }
}

#[tokio::test]
async fn what_is_no_task_executor_is_named_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
    let here = Process::start("here").await;
    let error = here.connect(&gate_at("evil", address, id(0))).await.unwrap_err();
    assert!(error.to_string().contains("it is no TaskExecutor"), "{error}");
    here.is_clean().await;
}

#[tokio::test]
async fn a_consumer_that_never_reads_its_answers_is_not_read_on() {
    let there = Process::start("there").await;
    let producer = there.register(0, 1);
    let mut stream = TcpStream::connect(&there.address.0).await.unwrap();
    stream.write_all(&greeting().encode()).await.unwrap();
    // Each is answered with a failure of some 200 bytes.
    let wrong = |channel| Frame::Request {
        channel,
        partition: id(0),
        subpartition: 1,
        window: Window { batches: 1, bytes: 1 },
    };
    let mut written = 0;
    for channel in 0.. {
        let bytes = wrong(channel).encode().to_vec();
        match tokio::time::timeout(Duration::from_millis(500), stream.write_all(&bytes)).await {
            Ok(Ok(())) => written += bytes.len(),
            _ => break,
        }
        assert!(written < 64 << 20, "it takes whatever comes");
    }
    drop((stream, producer));
    still_works(&there).await;
}
