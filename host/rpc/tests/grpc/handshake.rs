//! How a process finds the leaders, starting from one address.

use crate::fakes::{LONG, Process, Recorder, client, client_with, limits, options};
use heddle_model::config::value::{ConfigValue, PortRange};
use heddle_model::failure::ErrorCode;
use heddle_model::id::{DispatcherId, ResourceManagerId};
use heddle_rpc::RpcService;
use heddle_rpc::grpc::{GrpcClient, Identity, Leaders, Limits, Options, PROTOCOL_VERSION, Role};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn leaders(process: &Process, token: u128) -> Leaders {
    Leaders {
        dispatcher: Some((process.address("dispatcher"), DispatcherId(token))),
        resource_manager: Some((process.address("resourcemanager"), ResourceManagerId(token + 1))),
        blob_server: Some(process.address("blobserver")),
    }
}

#[tokio::test]
async fn the_leaders_are_told_with_their_tokens_and_told_again_when_they_change() {
    let manager = Process::start(options(Role::JobManager)).await;
    manager.publish_leaders(leaders(&manager, u128::MAX - 1));
    let client = client();
    let mut retrieval = client.leader_retrieval(manager.advertised());
    assert_eq!(retrieval.next().await, leaders(&manager, u128::MAX - 1));

    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let task = tokio::spawn(async move { while told.send(retrieval.next().await).await.is_ok() {} });
    // The same again is no news.
    manager.publish_leaders(leaders(&manager, u128::MAX - 1));
    manager.publish_leaders(Leaders::default());
    assert_eq!(heard.recv().await, Some(Leaders::default()));
    manager.publish_leaders(leaders(&manager, 5));
    assert_eq!(heard.recv().await, Some(leaders(&manager, 5)));
    task.abort();

    // With what was told the dispatcher is reached.
    manager.serve_dispatcher(manager.address("dispatcher"), Arc::new(Recorder::default()));
    let (address, _) = leaders(&manager, 5).dispatcher.unwrap();
    assert!(client.dispatcher(&address).unwrap().list_jobs().await.is_ok());
}

#[tokio::test]
async fn who_waits_for_news_finds_the_job_manager_that_takes_the_place_of_another() {
    let first = Process::start(options(Role::JobManager)).await;
    let ports = PortRange::parse(&first.local_address().port().to_string()).unwrap();
    first.publish_leaders(leaders(&first, 1));
    let mut retrieval = client().leader_retrieval(first.advertised());
    assert_eq!(retrieval.next().await, leaders(&first, 1));
    let waiting = tokio::spawn(async move { retrieval.next().await });
    first.stop().await;
    let second = Process::start(Options { ports, ..options(Role::JobManager) }).await;
    second.publish_leaders(leaders(&second, 7));
    assert_eq!(waiting.await.unwrap(), leaders(&second, 7));
}

#[tokio::test]
async fn a_job_manager_that_starts_last_is_waited_for() {
    // Reserves a port that nobody listens on.
    let reserved = Process::start(options(Role::JobManager)).await;
    let ports = PortRange::parse(&reserved.local_address().port().to_string()).unwrap();
    let authority = reserved.advertised().to_owned();
    reserved.stop().await;
    let waiting = tokio::spawn(async move { client().leader_retrieval(authority).first(LONG).await });
    let manager = Process::start(Options { ports, ..options(Role::JobManager) }).await;
    // It answers, and leads only later.
    while manager.metrics().connections_accepted.get() == 0 {
        tokio::task::yield_now().await;
    }
    manager.publish_leaders(leaders(&manager, 3));
    assert_eq!(waiting.await.unwrap(), Ok(leaders(&manager, 3)));
}

async fn first_error(client: &GrpcClient, authority: &str, patience: Duration) -> (ErrorCode, String) {
    let error = client.leader_retrieval(authority).first(patience).await.unwrap_err();
    (error.code, error.message.replace(authority, "ADDRESS"))
}

#[tokio::test]
async fn patience_ends_with_the_address_how_long_and_why() {
    let client = client();
    let gone = Process::start(options(Role::JobManager)).await;
    let authority = gone.advertised().to_owned();
    gone.stop().await;
    let started = Instant::now();
    let (code, message) = first_error(&client, &authority, Duration::from_millis(250)).await;
    assert!(started.elapsed() < LONG);
    assert_eq!(code, ErrorCode::Unreachable);
    assert!(message.starts_with("no JobManager answers at ADDRESS (2 tries in "), "{message}");
    assert!(message.contains("Connection refused"), "{message}");
    assert!(message.contains("check that it runs, `jobmanager.rpc.address`"), "{message}");

    let idle = Process::start(options(Role::JobManager)).await;
    let (code, message) = first_error(&client, idle.advertised(), Duration::from_millis(250)).await;
    assert_eq!(code, ErrorCode::Unreachable);
    assert!(message.contains("it answers, but does not lead yet"), "{message}");
    assert!(started.elapsed() < LONG);
}

#[tokio::test]
async fn what_patience_does_not_mend_is_told_at_once() {
    let client = client();
    for (authority, expected) in [
        ("nonsense", "`ADDRESS` is not host:port of a JobManager"),
        ("host:99999", "`ADDRESS` is not host:port of a JobManager"),
    ] {
        let (code, message) = first_error(&client, authority, LONG).await;
        assert_eq!((code, message.as_str()), (ErrorCode::ConfigurationInvalid, expected));
    }
    let worker = Process::start(options(Role::TaskExecutor)).await;
    let (code, message) = first_error(&client, worker.advertised(), LONG).await;
    assert_eq!(code, ErrorCode::OtherCluster);
    assert!(message.contains("what answers at ADDRESS is a taskexecutor"), "{message}");

    let manager = Process::start(options(Role::JobManager)).await;
    let newer = Identity { protocol: 1_000_000, ..Identity::new(Role::Client, None) };
    let newer = GrpcClient::new(&newer, limits()).unwrap();
    let (code, message) = first_error(&newer, manager.advertised(), LONG).await;
    assert_eq!(code, ErrorCode::ProtocolVersion);
    for version in [1_000_000, PROTOCOL_VERSION] {
        assert!(message.contains(&format!("speaks protocol {version}")), "{message}");
    }
    let stranger = GrpcClient::new(&Identity::new(Role::Client, Some("mine".into())), limits()).unwrap();
    assert_eq!(first_error(&stranger, manager.advertised(), LONG).await.0, ErrorCode::OtherCluster);
}

#[tokio::test]
async fn something_else_at_the_address_is_no_job_manager() {
    use tokio::io::AsyncWriteExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let web = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let client = client_with(Limits { ask_timeout: Duration::from_secs(1), ..limits() });
    let (code, message) = first_error(&client, &authority, Duration::from_millis(300)).await;
    assert_eq!(code, ErrorCode::Unreachable, "{message}");
    web.abort();
}
