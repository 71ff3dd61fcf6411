//! The client of a service among servers that are down, passive, silent,
//! hostile. Their answers are bytes by hand: a server in the tests must not
//! share the code that is tested.

use heddle_yarn::applications::Applications;
use heddle_yarn::rpc::{Error, Login, Options, Server};
use heddle_yarn::token::Token;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with a call.
#[derive(Clone, Debug)]
enum Behaviour {
    /// Answers `getClusterMetrics`: so many nodes.
    Answer(u8),
    /// Throws an exception.
    Throw(&'static str),
    /// Closes the connection.
    Close,
    /// Says nothing until so many pings have come.
    Pings(u8),
    /// Writes these bytes.
    Raw(Vec<u8>),
}

struct Fake {
    server: Server,
    calls: Arc<AtomicUsize>,
}

/// A server; the n-th call meets the n-th behaviour, or the last.
async fn fake(behaviours: Vec<Behaviour>) -> Fake {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, behaviours.clone(), count.clone()));
        }
    });
    Fake { server, calls }
}

async fn serve(mut stream: TcpStream, behaviours: Vec<Behaviour>, calls: Arc<AtomicUsize>) {
    let mut preamble = [0; 7];
    if stream.read_exact(&mut preamble).await.is_err() {
        return;
    }
    // The context of the connection.
    let Some(_) = frame(&mut stream).await else { return };
    while let Some(call) = frame(&mut stream).await {
        let number = calls.fetch_add(1, Ordering::SeqCst);
        let call_id = call_id(&call);
        let answer = match behaviours[number.min(behaviours.len() - 1)].clone() {
            Behaviour::Answer(nodes) => response(&[8, call_id, 16, 0], Some(&[10, 2, 8, nodes])),
            Behaviour::Throw(class) => {
                let mut header = vec![8, call_id, 16, 1, 34, class.len() as u8];
                header.extend(class.as_bytes());
                header.extend([42, 10]);
                header.extend(b"no\nx\n\tat A");
                response(&header, None)
            }
            Behaviour::Close => return,
            Behaviour::Pings(count) => {
                for _ in 0..count {
                    // A ping is a header of call -4 (zigzag 7) and no more.
                    let Some(ping) = frame(&mut stream).await else { return };
                    assert!(ping.len() < 32 && ping.windows(2).any(|bytes| bytes == [24, 7]), "{ping:?}");
                }
                response(&[8, call_id, 16, 0], Some(&[10, 2, 8, count]))
            }
            Behaviour::Raw(bytes) => bytes,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u32().await.ok()?;
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

/// Behind the header's length, kind and operation: field 3, zigzag.
fn call_id(frame: &[u8]) -> u8 {
    assert_eq!(frame[1..6], [8, 2, 16, 0, 24]);
    frame[6] / 2
}

fn response(header: &[u8], message: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![header.len() as u8];
    body.extend(header);
    if let Some(message) = message {
        body.push(message.len() as u8);
        body.extend(message);
    }
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

/// A port on which nobody listens.
async fn nobody() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Server { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() }
}

fn options() -> Options {
    Options {
        connect: Duration::from_secs(5),
        ping: Duration::from_secs(20),
        answer: Duration::from_secs(20),
        patience: Duration::from_secs(20),
    }
}

fn client(servers: &[&Server], options: Options) -> Applications {
    let servers = servers.iter().map(|server| (*server).clone()).collect();
    Applications::new(servers, Login::Simple { user: "bob".to_owned() }, options)
}

#[tokio::test]
async fn the_active_server_is_found_and_kept() {
    let (down, passive, active) = (
        nobody().await,
        fake(vec![Behaviour::Throw("org.apache.hadoop.ipc.StandbyException")]).await,
        fake(vec![Behaviour::Answer(3)]).await,
    );
    let client = client(&[&down, &passive.server, &active.server], options());
    for _ in 0..3 {
        assert_eq!(client.cluster_metrics().await.unwrap().node_managers, 3);
    }
    assert_eq!(passive.calls.load(Ordering::SeqCst), 1);
    assert_eq!(active.calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_again() {
    let fake = fake(vec![
        Behaviour::Answer(1),
        Behaviour::Close,
        Behaviour::Throw("org.apache.hadoop.ipc.RetriableException"),
        Behaviour::Close,
        Behaviour::Answer(2),
    ])
    .await;
    let client = client(&[&fake.server], options());
    assert_eq!(client.cluster_metrics().await.unwrap().node_managers, 1);
    assert_eq!(client.cluster_metrics().await.unwrap().node_managers, 2);
    assert_eq!(fake.calls.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn where_nobody_answers_each_try_is_named() {
    let (first, second) =
        (nobody().await, fake(vec![Behaviour::Throw("org.apache.hadoop.ipc.StandbyException")]).await);
    let options = Options { patience: Duration::from_millis(300), ..options() };
    let error = client(&[&first, &second.server], options).cluster_metrics().await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Unreachable { .. }), "{text}");
    assert!(text.starts_with("no ResourceManager answers; tried 127.0.0.1:"), "{text}");
    assert!(text.contains("refused") && text.contains("StandbyException"), "{text}");
}

#[tokio::test]
async fn another_exception_is_told_at_once_and_the_connection_goes_on() {
    let fake = fake(vec![Behaviour::Throw("a.b.ApplicationNotFoundException"), Behaviour::Answer(1)]).await;
    let client = client(&[&fake.server], options());
    let error = client.cluster_metrics().await.unwrap_err();
    let remote = error.remote().unwrap();
    assert_eq!(remote.class, "a.b.ApplicationNotFoundException");
    assert_eq!((remote.message.as_str(), remote.details.as_str()), ("no x", "\tat A"));
    assert!(error.is_remote("ApplicationNotFoundException"));
    assert_eq!(client.cluster_metrics().await.unwrap().node_managers, 1);
}

#[tokio::test]
async fn a_silent_server_is_pinged_and_left_in_the_end() {
    let fake = fake(vec![Behaviour::Pings(2), Behaviour::Pings(255)]).await;
    let options =
        Options { ping: Duration::from_millis(20), answer: Duration::from_millis(1500), ..options() };
    let client = client(&[&fake.server], options);
    assert_eq!(client.cluster_metrics().await.unwrap().node_managers, 2);
    let error = client.cluster_metrics().await.unwrap_err();
    assert!(matches!(error, Error::NoAnswer { .. }), "{error}");
}

#[tokio::test]
async fn hostile_answers_are_errors() {
    let other_call = response(&[8, 99, 16, 0], Some(&[]));
    for bytes in [
        vec![0xFF; 64],
        vec![0, 0, 0, 2, 0xFF, 0xFF],
        vec![0, 0, 0, 0],
        other_call,
        // A message that says that it is longer than its frame.
        vec![0, 0, 0, 7, 4, 8, 0, 16, 0, 120, 1],
    ] {
        let fake = fake(vec![Behaviour::Raw(bytes.clone()), Behaviour::Answer(1)]).await;
        let client = client(&[&fake.server], options());
        let error = client.cluster_metrics().await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{bytes:?}: {error}");
        // Nothing of it is left behind.
        assert_eq!(client.cluster_metrics().await.unwrap().node_managers, 1);
    }
}

#[tokio::test]
async fn a_server_that_takes_no_tokens_is_named() {
    // Offers nothing: the frame of a login's answer, NEGOTIATE without a way.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut preamble = [0; 7];
        stream.read_exact(&mut preamble).await.unwrap();
        assert_eq!(preamble, *b"hrpc\x09\x00\xDF");
        frame(&mut stream).await.unwrap();
        let header = [8, 0xDF, 0xFF, 0xFF, 0xFF, 0x0F, 16, 0];
        stream.write_all(&response(&header, Some(&[16, 1]))).await.unwrap();
        frame(&mut stream).await;
    });
    let token = Token::new(vec![1], vec![2], "kind", "");
    let client = Applications::new(vec![server], Login::Token(token), options());
    let error = client.cluster_metrics().await.unwrap_err();
    assert!(matches!(error, Error::Credentials { .. }), "{error}");
    assert!(error.to_string().contains("does not take tokens"), "{error}");
}
