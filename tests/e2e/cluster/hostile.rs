//! Peers that do not speak the protocol, on every port of real processes: they
//! lose their connection and are counted; jobs go on.

use crate::harness::{Cluster, Process};
use heddle_tests::wait_until;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What begins every connection between roles: HTTP/2's preface, and settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A port that a process says it listens on, behind these words of its log.
fn port(process: &Process, words: &str) -> SocketAddr {
    let log = process.log();
    let line =
        log.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no `{words}` in:\n{log}"));
    let addresses = line.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
    let mut found = addresses.filter_map(|text| text.parse::<SocketAddr>().ok());
    found.next().unwrap_or_else(|| panic!("no address in: {line}"))
}

/// Sends the bytes and waits until the other end closes the connection.
fn is_closed_after(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    // It may be closed before all is written.
    let _ = stream.write_all(bytes);
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                let open = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(
                    !open,
                    "{address} still holds the connection after {:?}",
                    &bytes[..bytes.len().min(40)]
                );
                break;
            }
        }
    }
}

#[test]
fn what_does_not_speak_the_protocol_loses_its_connection_on_every_port() {
    let cluster = Cluster::new(&[("rpc.handshake.timeout", "1 s")]);
    let job_manager = cluster.job_manager(&[]);
    let task_executor = cluster.task_executor(&[]);
    let ports = [
        ("JobManager", port(&job_manager, "listening")),
        ("TaskExecutor", port(&task_executor, "listening")),
        ("data", port(&task_executor, "data port is open")),
    ];
    let half = &PREFACE[..20];
    let oversized = [PREFACE, &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1][..], &[0; 70_000][..]].concat();
    let garbage: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, address) in ports {
        for bytes in
            [&garbage[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", half, &oversized, b"", &[0; 3], &[0xff; 64]]
        {
            eprintln!("{name}: {} bytes", bytes.len());
            is_closed_after(address, bytes);
        }
    }
    let counted = || {
        let overview = cluster.heddle(&["list", "--overview", "--json"]).run().expect_success();
        let overview: serde_json::Value = serde_json::from_str(&overview.stdout).expect("JSON");
        overview["rpc"]["bad_connections"].as_u64().expect("a number")
    };
    wait_until("all are counted", || counted() >= 7);
    for process in [&job_manager, &task_executor] {
        assert!(process.log().contains("its other end does not speak the protocol"), "{}", process.log());
        assert!(!process.log().contains("panicked"), "{}", process.log());
    }
    cluster.run_word_count();
}
