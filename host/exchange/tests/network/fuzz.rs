//! Streams cut and mangled at random, from printed seeds: the decoder never
//! panics, what is whole is read whole, and a process outlives them all.

use crate::harness::*;
use bytes::Bytes;
use heddle_exchange::wire::{
    Answer, Frame, Greeting, HEADER_LENGTH, Header, Kind, Load, Reason, Status, VERSION, Window,
};
use heddle_exchange::{GateBuffers, GateEvent};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::ResourceId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn any_frame(random: &mut StdRng) -> Frame {
    let channel = random.random_range(0..3);
    let sequence = random.random_range(0..3);
    let cause =
        Failure::new(ErrorCode::PeerGone, "gone").with_details("x".repeat(random.random_range(1..50)));
    match random.random_range(0..8) {
        0 => Frame::Request {
            channel,
            partition: id(random.random_range(0..3)),
            subpartition: random.random_range(0..2),
            window: Window { batches: random.random_range(0..4), bytes: random.random_range(0..4096) },
        },
        1 => Frame::Credit {
            channel,
            read: Load { batches: random.random_range(0..2), bytes: sequence.into() },
        },
        2 => Frame::Close { channel, cause },
        3 => Frame::Ping,
        4 => Frame::Accepted { channel },
        5 => Frame::Data { channel, sequence, batch: Bytes::from(vec![1; random.random_range(1..3000)]) },
        6 => Frame::End { channel, sequence },
        _ => Frame::Failed { channel, reason: Reason::Refused, cause },
    }
}

fn mangle(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(0..4) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..4) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            2 => drop(bytes.drain(at..(at + random.random_range(1..40)).min(bytes.len()))),
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

#[test]
fn frames_are_read_back_and_mangled_ones_do_no_harm() {
    for seed in 0..20_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let frame = any_frame(&mut random);
        let mut bytes = frame.clone().encode().to_vec();
        let (head, body) = bytes.split_first_chunk::<HEADER_LENGTH>().unwrap();
        let header = Header::decode(head).unwrap();
        assert_eq!(header.length as usize, body.len(), "seed {seed}");
        assert_eq!(Frame::decode(header, Bytes::copy_from_slice(body)), Ok(frame), "seed {seed}");

        mangle(&mut bytes, &mut random);
        let Some((head, body)) = bytes.split_first_chunk::<HEADER_LENGTH>() else { continue };
        if let Ok(header) = Header::decode(head) {
            // Whatever the header says, and whatever length there is.
            let _ = Frame::decode(header, Bytes::copy_from_slice(body));
            for kind in Kind::ALL {
                let _ = Frame::decode(Header { kind: *kind, ..header }, Bytes::copy_from_slice(body));
            }
        }
    }
}

fn stream(random: &mut StdRng, start: Vec<u8>) -> Vec<u8> {
    let mut bytes = start;
    for _ in 0..random.random_range(1..20) {
        let mut frame = any_frame(random).encode().to_vec();
        if random.random_range(0..4) == 0 {
            mangle(&mut frame, random);
        }
        bytes.append(&mut frame);
    }
    if random.random_range(0..8) == 0 {
        mangle(&mut bytes, random);
    }
    bytes
}

/// Writes in pieces of any size.
async fn write(stream: &mut TcpStream, bytes: &[u8], random: &mut StdRng) -> std::io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(random.random_range(1..=rest.len()));
        stream.write_all(piece).await?;
        tokio::task::yield_now().await;
        rest = others;
    }
    Ok(())
}

#[tokio::test]
async fn a_producer_outlives_whatever_its_consumers_send() {
    let there = Process::start("there").await;
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let producers = [there.register(0, 2), there.register(1, 2)];
        for producer in &producers {
            producer.try_send(0, batch("1")).unwrap();
        }
        let greeting = Greeting {
            version: VERSION,
            cluster_id: "test".into(),
            from: ResourceId("evil".into()),
            to: there.name.clone(),
        };
        let bytes = stream(&mut random, greeting.encode());
        let mut socket = TcpStream::connect(&there.address.0).await.unwrap();
        let _ = write(&mut socket, &bytes, &mut random).await;
        drop((socket, producers));
        soon(&format!("seed {seed}"), there.is_clean()).await;
    }
}

#[tokio::test]
async fn a_consumer_outlives_whatever_its_producers_send() {
    // An answer may be cut, and then nothing more comes.
    let mut quick = options("here");
    quick.greeting_timeout = Duration::from_millis(50);
    quick.backoff_initial = Duration::from_millis(1);
    quick.backoff_max = Duration::from_millis(1);
    let here = Process::with(quick).await;
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let evil = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            read_some(&mut socket).await;
            let answer =
                Answer { version: VERSION, status: Status::Welcome, from: ResourceId("evil".into()) };
            let bytes = stream(&mut random, answer.encode());
            let (answer, frames) = bytes.split_at(answer.encode().len().min(bytes.len()));
            let _ = write(&mut socket, answer, &mut random).await;
            // The request, so that its channel is known.
            let _ = tokio::time::timeout(Duration::from_millis(20), socket.read(&mut buffer)).await;
            let _ = write(&mut socket, frames, &mut random).await;
        };
        let manager = here.manager.clone();
        let descriptor = gate_at("evil", address, id(0));
        let reading = async {
            let Ok(mut gate) = manager.connect(&descriptor, GATE, SOON).await else { return };
            while let Ok(GateEvent::Batch { .. } | GateEvent::EndOfChannel { .. }) = gate.next().await {}
        };
        soon(&format!("seed {seed}"), async { tokio::join!(evil, reading) }).await;
        soon(&format!("seed {seed}"), here.is_clean()).await;
    }
}

#[tokio::test]
async fn pieces_of_any_size_make_whole_batches() {
    for seed in 0..30 {
        let mut random = StdRng::seed_from_u64(seed);
        let here = Process::start("here").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Around the lengths where the reader changes its way.
        let lengths: Vec<usize> =
            (0..3).map(|_| [1, 100, 8191, 8192, 20_000, 70_000][random.random_range(0..6)]).collect();
        let producing = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            read_some(&mut socket).await;
            let answer =
                Answer { version: VERSION, status: Status::Welcome, from: ResourceId("there".into()) };
            socket.write_all(&answer.encode()).await.unwrap();
            read_some(&mut socket).await;
            let mut bytes = Vec::new();
            bytes.append(&mut Frame::Accepted { channel: 0 }.encode().to_vec());
            for (sequence, length) in lengths.iter().enumerate() {
                let content: Vec<u8> = (0..*length).map(|at| (at * 7 + sequence) as u8).collect();
                let frame =
                    Frame::Data { channel: 0, sequence: sequence as u32, batch: Bytes::from(content) };
                bytes.append(&mut frame.encode().to_vec());
            }
            bytes.append(&mut Frame::End { channel: 0, sequence: lengths.len() as u32 }.encode().to_vec());
            write(&mut socket, &bytes, &mut random).await.unwrap();
            socket
        };
        let manager = here.manager.clone();
        let descriptor = gate_at("there", address, id(0));
        let reading = async {
            let mut gate = manager
                .connect(&descriptor, GateBuffers { batch_size: 64 * 1024, ..GATE }, SOON)
                .await
                .unwrap();
            for (sequence, length) in lengths.iter().enumerate() {
                let GateEvent::Batch { batch, .. } = gate.next().await.unwrap() else { panic!("a batch") };
                assert_eq!(batch.len(), *length);
                assert!((0..*length).all(|at| batch[at] == (at * 7 + sequence) as u8), "seed {seed}");
            }
            assert_eq!(gate.next().await, Ok(GateEvent::EndOfChannel { channel: 0 }));
        };
        soon(&format!("seed {seed}"), async { tokio::join!(producing, reading) }).await;
        here.is_clean().await;
    }
}
