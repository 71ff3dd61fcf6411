//! What breaks, breaks those who use it, with the cause, and frees everything.

use crate::harness::*;
use heddle_exchange::Error;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn a_producer_that_fails_breaks_its_consumers_with_its_cause() {
    let (there, producer, here, mut gate) = pair().await;
    producer.fail(Failure::new(ErrorCode::OperatorTrap, "it trapped").with_details("at line 3"));
    let error = next_error(&mut gate).await;
    assert!(error.is_consequence());
    let failure = Failure::from(error);
    assert_eq!(failure.code, ErrorCode::PeerGone);
    assert!(failure.message.ends_with("is gone: it trapped"), "{failure}");
    assert_eq!(failure.details.as_deref(), Some("at line 3"));
    drop((producer, gate));
    there.is_clean().await;
    here.is_clean().await;
}

#[tokio::test]
async fn a_consumer_that_goes_away_breaks_its_producer_with_its_cause() {
    let (there, producer, here, gate) = pair().await;
    gate.fail(Failure::new(ErrorCode::MemoryLimit, "it was full"));
    let error = soon("the producer hears of it", async {
        loop {
            if let Err(error) = producer.send(0, batch("x")).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(error.is_consequence());
    assert!(error.to_string().ends_with("is gone: it was full"), "{error}");
    producer.finish();
    there.is_clean().await;
    here.is_clean().await;
}

#[tokio::test]
async fn a_process_that_ends_breaks_both_ends_of_its_channels_and_no_other() {
    let (there, producer, here, mut gate) = pair().await;
    let (near, other) = (here.register(1, 1), Process::start("other").await);
    let mut untouched = other.connect(&super::harness::gate(&[(&here, id(1))], 0)).await.unwrap();
    let (there_address, here_name) = (there.address.clone(), here.name.clone());
    producer.try_send(0, batch("lost")).unwrap();
    there.stop().await;

    let error = next_error(&mut gate).await;
    assert!(!error.is_consequence(), "nobody else reports it");
    let failure = Failure::from(error);
    assert_eq!(failure.code, ErrorCode::ConnectionLost);
    let expected = format!("the connection to TaskExecutor there at {there_address} (from 127.0.0.1:");
    assert!(failure.message.starts_with(&expected), "{failure}");
    assert!(failure.message.ends_with("was lost: the other end closed it"), "{failure}");

    let error = producer.send(0, batch("x")).await.unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("the connection to TaskExecutor {here_name} at ")),
        "{error}"
    );

    near.try_send(0, batch("goes on")).unwrap();
    assert_eq!(next_text(&mut untouched).await, "goes on");
    drop((producer, gate, near, untouched));
    here.is_clean().await;
    other.is_clean().await;
}

#[tokio::test]
async fn what_arrived_completely_survives_the_connection() {
    let (there, producer, _here, mut gate) = pair().await;
    producer.try_send(0, batch("all of it")).unwrap();
    producer.finish();
    drop(producer);
    there.is_clean().await;
    there.stop().await;
    // The end is in the socket or in the gate; what is in front of it is kept.
    assert_eq!(next_text(&mut gate).await, "all of it");
    assert_eq!(
        soon("the end", gate.next()).await,
        Ok(heddle_exchange::GateEvent::EndOfChannel { channel: 0 })
    );
}

#[tokio::test]
async fn a_consumer_process_that_ends_breaks_the_producer() {
    let (there, producer, here, gate) = pair().await;
    here.stop().await;
    let error = soon("the producer hears of it", async {
        loop {
            if let Err(error) = producer.send(0, batch("x")).await {
                return error;
            }
        }
    })
    .await;
    assert_eq!(Failure::from(error).code, ErrorCode::ConnectionLost);
    producer.finish();
    drop((producer, gate));
    there.is_clean().await;
}

#[tokio::test]
async fn releasing_a_job_breaks_its_remote_consumers() {
    let (there, producer, here, mut gate) = pair().await;
    there.manager.release_job(JobId(7));
    assert_eq!(next_error(&mut gate).await, Error::Released { partition: id(0) });
    drop((producer, gate));
    there.is_clean().await;
    here.is_clean().await;
}

#[tokio::test]
async fn a_cancelled_connect_leaves_nothing_behind() {
    let (there, here) = (Process::start("there").await, Process::start("here").await);
    let descriptor = gate(&[(&there, id(0))], 0);
    let manager = here.manager.clone();
    let connecting = tokio::spawn(async move { manager.connect(&descriptor, GATE, SOON).await });
    until("the request is there", || there.counts().accepted == 1).await;
    connecting.abort();
    here.is_clean().await;
    the_request_was_withdrawn(&there, &here).await;
}

#[tokio::test]
async fn a_channel_has_one_consumer_and_must_exist() {
    let (there, _producer, here, _gate) = pair().await;
    let error = here.connect(&gate(&[(&there, id(0))], 0)).await.unwrap_err();
    assert!(error.to_string().contains("has a consumer already"), "{error}");
    let error = here.connect(&gate(&[(&there, id(0))], 1)).await.unwrap_err();
    assert_eq!(Failure::from(error).code, ErrorCode::ContractViolation);
}

#[tokio::test]
async fn a_process_that_never_comes_is_named_with_its_address() {
    let (gone, here) = (Process::start("gone").await, Process::start("here").await);
    let descriptor = gate(&[(&gone, id(0))], 0);
    let address = gone.address.clone();
    gone.stop().await;
    let failure = Failure::from(here.connect(&descriptor).await.unwrap_err());
    assert_eq!(failure.code, ErrorCode::ConnectionLost);
    let expected = format!("TaskExecutor gone does not answer at {address}: Connection refused");
    assert!(failure.message.starts_with(&expected), "{failure}");
    assert!(failure.message.contains("tried 4 times in "), "{failure}");
    here.is_clean().await;
}

#[tokio::test]
async fn peers_that_do_not_fit_are_refused_at_once_and_named() {
    let there = Process::start("there").await;
    let mut elsewhere = options("here");
    elsewhere.cluster_id = "other".into();
    let stranger = Process::with(elsewhere).await;
    let error = stranger.connect(&gate(&[(&there, id(0))], 0)).await.unwrap_err();
    assert!(error.to_string().ends_with("it belongs to another cluster than here (`other`)"), "{error}");

    let here = Process::start("here").await;
    let error = here.connect(&gate_at("former", &there.address, id(0))).await.unwrap_err();
    assert!(error.to_string().ends_with("TaskExecutor there is there instead"), "{error}");
    assert_eq!(there.counts().turned_away, 2);
    assert_eq!(there.counts().accepted, 0);
}

#[tokio::test]
async fn a_manager_without_network_says_so() {
    let there = Process::start("there").await;
    let manager = heddle_exchange::PartitionManager::new(MEMORY);
    let descriptor = gate(&[(&there, id(0))], 0);
    let error = manager.connect(&descriptor, GATE, SOON).await.unwrap_err();
    assert_eq!(error, Error::NoNetwork { partition: id(0) });
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_option() {
    let there = Process::start("there").await;
    let port = there.address.0.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let mut same = options("here");
    same.ports = heddle_model::config::value::PortRange::from(port);
    let manager = heddle_exchange::PartitionManager::new(MEMORY);
    let failure = heddle_exchange::NetworkService::bind(same, &manager).await.map(|_| ()).unwrap_err();
    assert_eq!(failure.code, ErrorCode::ConfigurationInvalid);
    assert!(failure.message.contains("set `taskmanager.data.port` to a free port"), "{failure}");
}

/// Forwards one connection until it is told to hold everything back, as a cut
/// network does: nothing arrives, nothing is closed.
async fn proxy(listener: TcpListener, to: String, cut: tokio_util::sync::CancellationToken) {
    let (mut near, _) = listener.accept().await.unwrap();
    let mut far = TcpStream::connect(to).await.unwrap();
    let (mut from_near, mut from_far) = (vec![0; 4096], vec![0; 4096]);
    loop {
        tokio::select! {
            biased;
            () = cut.cancelled() => std::future::pending::<()>().await,
            read = near.read(&mut from_near) => {
                let read = read.unwrap();
                far.write_all(&from_near[..read]).await.unwrap();
            }
            read = far.read(&mut from_far) => {
                let read = read.unwrap();
                near.write_all(&from_far[..read]).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_network_that_is_cut_silently_is_noticed_at_both_ends() {
    let quick = |name: &str| {
        let mut options = options(name);
        options.heartbeat_interval = Duration::from_millis(20);
        options.heartbeat_timeout = Duration::from_millis(400);
        options
    };
    let (there, here) = (Process::with(quick("there")).await, Process::with(quick("here")).await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cut = tokio_util::sync::CancellationToken::new();
    let mut proxies = tokio::task::JoinSet::new();
    proxies.spawn(proxy(listener, there.address.0.clone(), cut.clone()));

    let producer = there.register(0, 1);
    let mut gate = here.connect(&gate_at("there", address, id(0))).await.unwrap();
    producer.try_send(0, batch("1")).unwrap();
    assert_eq!(next_text(&mut gate).await, "1");
    // Idle for longer than the time-out, but alive.
    tokio::time::sleep(Duration::from_millis(800)).await;
    producer.try_send(0, batch("2")).unwrap();
    assert_eq!(next_text(&mut gate).await, "2");

    cut.cancel();
    let error = next_error(&mut gate).await;
    assert!(error.to_string().ends_with("was silent for 400ms (`heartbeat.timeout`)"), "{error}");
    let error = soon("the producer notices", async {
        loop {
            if let Err(error) = producer.send(0, batch("x")).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(error.to_string().contains("was silent for 400ms"), "{error}");
    assert!(error.to_string().starts_with("the connection to TaskExecutor here at "), "{error}");
}
