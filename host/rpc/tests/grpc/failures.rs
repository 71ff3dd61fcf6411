//! What a caller hears when a call does not do what it was asked for.

use crate::fakes::{LONG, Process, Recorder, client, client_with, limits, options};
use crate::samples::{self, JOB};
use expect_test::expect;
use heddle_model::config::value::{ConfigValue, PortRange};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::{JobMasterId, ResourceManagerId};
use heddle_rpc::grpc::{GrpcClient, Identity, Limits, PROTOCOL_VERSION, Role};
use heddle_rpc::{Address, DispatcherGateway, Error, RpcService};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const TOKEN: ResourceManagerId = ResourceManagerId(1);

fn failure(result: Result<impl std::fmt::Debug, Error>) -> Failure {
    match result {
        Err(Error::Failure(failure)) => failure,
        other => panic!("no failure but {other:?}"),
    }
}

#[tokio::test]
async fn errors_come_back_as_they_were() {
    let process = Process::start(options(Role::TaskExecutor)).await;
    let address = process.address("taskexecutor/worker");
    let gateway = client().task_executor(&address).unwrap();
    let long = Failure::new(ErrorCode::OperatorTrap, "ä".repeat(2_000)).with_details("x\n".repeat(30_000));
    let errors = [
        Error::Unreachable { address: Address("heddle://elsewhere:1/x".into()) },
        Error::Fenced { expected: "one".into(), got: String::new() },
        Error::Failure(samples::failure()),
        Error::Failure(long),
    ];
    for code in ErrorCode::ALL {
        let error = Error::Failure(Failure::new(*code, "…"));
        process.serve_task_executor(address.clone(), Recorder::failing(error.clone()));
        assert_eq!(gateway.heartbeat_from_resource_manager(TOKEN).await, Err(error));
    }
    for error in errors {
        process.serve_task_executor(address.clone(), Recorder::failing(error.clone()));
        assert_eq!(gateway.heartbeat_from_resource_manager(TOKEN).await, Err(error));
    }
}

#[tokio::test]
async fn an_error_with_a_book_of_details_loses_only_its_end() {
    let process = Process::start(options(Role::TaskExecutor)).await;
    let address = process.address("taskexecutor/worker");
    let book = Failure::new(ErrorCode::OperatorTrap, "trapped").with_details("line\n".repeat(1_000_000));
    process.serve_task_executor(address.clone(), Recorder::failing(book.into()));
    let gateway = client().task_executor(&address).unwrap();
    let failure = failure(gateway.heartbeat_from_resource_manager(TOKEN).await);
    assert_eq!((failure.code, failure.message.as_str()), (ErrorCode::OperatorTrap, "trapped"));
    let details = failure.details.unwrap();
    assert!(details.starts_with("line\nline\n") && details.ends_with('…') && details.len() > 60_000);
}

#[tokio::test]
async fn an_endpoint_that_nobody_serves_is_unreachable() {
    let process = Process::start(options(Role::JobManager)).await;
    let client = client();
    let address = process.address("dispatcher");
    let gateway = client.dispatcher(&address).unwrap();
    let unreachable = Error::Unreachable { address: address.clone() };
    assert_eq!(gateway.list_jobs().await, Err(unreachable.clone()));
    // A role of another kind is not it either.
    process.serve_task_executor(address.clone(), Arc::new(Recorder::default()));
    assert_eq!(gateway.list_jobs().await, Err(unreachable.clone()));
    process.serve_dispatcher(address.clone(), Arc::new(Recorder::default()));
    assert!(gateway.list_jobs().await.is_ok());
    process.stop_serving(&address);
    assert_eq!(gateway.list_jobs().await, Err(unreachable));
    assert_eq!(client.metrics().calls_sent.get(), 4);
    assert_eq!(client.metrics().calls_unreachable.get(), 3);
    assert_eq!(process.metrics().calls_received.get(), 4);
    assert_eq!(process.metrics().calls_failed.get(), 3);
}

#[tokio::test]
async fn a_process_that_ended_is_unreachable_and_found_again_when_it_is_back() {
    let process = Process::start(options(Role::TaskExecutor)).await;
    let address = process.address("taskexecutor/worker");
    process.serve_task_executor(address.clone(), Arc::new(Recorder::default()));
    let client = client();
    let gateway = client.task_executor(&address).unwrap();
    assert_eq!(gateway.heartbeat_from_resource_manager(TOKEN).await, Ok(()));
    let port = process.local_address().port();
    process.stop().await;
    let unreachable = Err(Error::Unreachable { address: address.clone() });
    assert_eq!(gateway.heartbeat_from_resource_manager(TOKEN).await, unreachable);
    assert_eq!(gateway.heartbeat_from_resource_manager(TOKEN).await, unreachable);

    let again = PortRange::parse(&port.to_string()).unwrap();
    let process =
        Process::start(heddle_rpc::grpc::Options { ports: again, ..options(Role::TaskExecutor) }).await;
    process.serve_task_executor(address.clone(), Arc::new(Recorder::default()));
    assert_eq!(gateway.heartbeat_from_resource_manager(TOKEN).await, Ok(()));
}

#[tokio::test]
async fn a_call_under_way_ends_when_its_receiver_does() {
    let process = Process::start(options(Role::JobManager)).await;
    let address = process.address("dispatcher");
    let silent = Recorder::silent();
    process.serve_dispatcher(address.clone(), silent.clone());
    let gateway = client().dispatcher(&address).unwrap();
    let call = tokio::spawn(async move { gateway.request_job_result(JOB).await });
    while silent.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    process.stop().await;
    assert_eq!(call.await.unwrap(), Err(Error::Unreachable { address }));
}

#[tokio::test]
async fn a_host_that_swallows_everything_is_given_up_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address(format!("heddle://{}/dispatcher", listener.local_addr().unwrap()));
    let ask_timeout = Duration::from_millis(400);
    let client = client_with(Limits { ask_timeout, keep_alive_interval: LONG, ..limits() });
    let gateway = client.dispatcher(&address).unwrap();
    let started = Instant::now();
    // It is connected, by the kernel, but never answers.
    let failure = failure(gateway.list_jobs().await);
    assert_eq!(failure.code, ErrorCode::NoAnswer);
    assert!(started.elapsed() < LONG);
    assert_eq!(client.metrics().calls_unanswered.get(), 1);
    let text = failure.message.replace(&listener.local_addr().unwrap().to_string(), "ADDRESS");
    expect!["no answer to `list_jobs` from heddle://ADDRESS/dispatcher within 400ms; its process is stopped, busy or cut off (rpc.ask.timeout)"]
        .assert_eq(&text);
}

#[tokio::test]
async fn a_connection_whose_other_end_falls_silent_is_given_up() {
    // Answers the greeting of HTTP/2, then nothing, not even to pings.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address(format!("heddle://{}/dispatcher", listener.local_addr().unwrap()));
    let frozen = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        // An empty SETTINGS frame.
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        std::future::pending::<()>().await;
    });
    let client = client_with(Limits { keep_alive_interval: Duration::from_millis(50), ..limits() });
    let gateway = client.dispatcher(&address).unwrap();
    assert_eq!(gateway.list_jobs().await, Err(Error::Unreachable { address }));
    frozen.abort();
}

#[tokio::test]
async fn a_silent_receiver_does_not_hold_its_caller() {
    let process = Process::start(options(Role::JobManager)).await;
    let address = process.address("jobmaster/1/2");
    process.serve_job_master(address.clone(), Recorder::silent());
    let client = client_with(Limits { ask_timeout: Duration::from_millis(50), ..limits() });
    let gateway = client.job_master(&address).unwrap();
    assert_eq!(failure(gateway.cancel(JobMasterId(1)).await).code, ErrorCode::NoAnswer);
}

#[tokio::test]
async fn a_result_may_take_longer_than_any_deadline() {
    use async_trait::async_trait;
    use heddle_rpc::{BlobContent, JobDetails, JobOverview, JobResult};
    /// Answers the third question.
    struct Late(std::sync::atomic::AtomicU32);
    #[async_trait]
    impl DispatcherGateway for Late {
        async fn put_blob(&self, _: BlobContent) -> heddle_rpc::Result<heddle_model::id::BlobKey> {
            unreachable!()
        }
        async fn submit_job(
            &self,
            _: heddle_model::job_graph::JobGraph,
        ) -> heddle_rpc::Result<heddle_model::id::JobId> {
            unreachable!()
        }
        async fn list_jobs(&self) -> heddle_rpc::Result<Vec<JobOverview>> {
            unreachable!()
        }
        async fn request_job(&self, _: heddle_model::id::JobId) -> heddle_rpc::Result<JobDetails> {
            unreachable!()
        }
        async fn request_job_result(&self, _: heddle_model::id::JobId) -> heddle_rpc::Result<JobResult> {
            if self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 {
                std::future::pending::<()>().await;
            }
            Ok(samples::job_result())
        }
        async fn shut_down_cluster(&self) -> heddle_rpc::Result<()> {
            unreachable!("nobody asks for it")
        }
        async fn cancel_job(&self, _: heddle_model::id::JobId) -> heddle_rpc::Result<()> {
            unreachable!()
        }
        async fn request_cluster_overview(&self) -> heddle_rpc::Result<heddle_rpc::ClusterOverview> {
            unreachable!()
        }
    }
    let process = Process::start(options(Role::JobManager)).await;
    let address = process.address("dispatcher");
    process.serve_dispatcher(address.clone(), Arc::new(Late(Default::default())));
    let client = client_with(Limits { ask_timeout: Duration::from_millis(50), ..limits() });
    let gateway = client.dispatcher(&address).unwrap();
    assert_eq!(gateway.request_job_result(JOB).await, Ok(samples::job_result()));
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused_on_either_side() {
    let small = Limits { max_message_size: 1_000, ..limits() };
    let big = samples::job_graph();
    let big = heddle_model::job_graph::JobGraph { name: "n".repeat(10_000), ..big };
    for (of_client, of_server) in [(small.clone(), limits()), (limits(), small)] {
        let process =
            Process::start(heddle_rpc::grpc::Options { limits: of_server, ..options(Role::JobManager) })
                .await;
        let address = process.address("dispatcher");
        let recorder = Arc::new(Recorder::default());
        process.serve_dispatcher(address.clone(), recorder.clone());
        let gateway = client_with(of_client).dispatcher(&address).unwrap();
        let refused = failure(gateway.submit_job(big.clone()).await);
        assert_eq!(refused.code, ErrorCode::MessageTooLarge, "{refused}");
        assert!(refused.message.contains("rpc.max-message-size"), "{refused}");
        assert!(recorder.calls().is_empty());
        // The connection goes on.
        assert!(gateway.cancel_job(JOB).await.is_ok());
    }
}

#[tokio::test]
async fn another_version_or_cluster_is_refused_and_both_ends_are_named() {
    let process = Process::start(options(Role::JobManager)).await;
    let address = process.address("dispatcher");
    let recorder = Arc::new(Recorder::default());
    process.serve_dispatcher(address.clone(), recorder.clone());
    let worker = Identity::new(Role::TaskExecutor, Some("cluster-1".into()));
    let ask = async |identity: Identity| {
        let worker = Process::start(heddle_rpc::grpc::Options { identity, ..options(Role::Client) }).await;
        let gateway = worker.client().dispatcher(&address).unwrap();
        let result = gateway.list_jobs().await;
        result.map(drop).map_err(|error| {
            let text = error.to_string().replace(worker.advertised(), "WORKER");
            let text = text.replace(process.advertised(), "MANAGER");
            text.replace(&format!("protocol {PROTOCOL_VERSION}"), "protocol OURS")
        })
    };
    assert_eq!(ask(worker.clone()).await, Ok(()));
    let newer = Identity { protocol: 1_000_000, build: "9.9.9".into(), ..worker.clone() };
    expect!["taskexecutor at WORKER is of version 9.9.9 and speaks protocol 1000000, jobmanager at MANAGER is of version 0.1.0 and speaks protocol OURS; run the same version of Heddle in both places"]
        .assert_eq(&ask(newer).await.unwrap_err());
    let other = Identity { cluster_id: Some("cluster-2".into()), ..worker.clone() };
    expect!["taskexecutor at WORKER belongs to cluster `cluster-2`, jobmanager at MANAGER to cluster `cluster-1`; check jobmanager.rpc.address and high-availability.cluster-id of both"]
        .assert_eq(&ask(other).await.unwrap_err());
    let nameless = Identity { cluster_id: None, ..worker };
    assert!(ask(nameless).await.unwrap_err().contains("belongs to cluster ``"));
    // A client need not know the cluster it talks to, but must not be wrong.
    assert_eq!(ask(Identity::new(Role::Client, None)).await, Ok(()));
    assert!(ask(Identity::new(Role::Client, Some("cluster-2".into()))).await.is_err());
    assert_eq!(process.metrics().calls_refused.get(), 4);
    assert_eq!(recorder.calls().len(), 2);
}

#[test]
fn a_cluster_id_that_cannot_be_told_is_refused() {
    for id in ["line\nbreak", &"long".repeat(100)] {
        let refused = GrpcClient::new(&Identity::new(Role::Client, Some(id.to_owned())), limits());
        assert_eq!(refused.err().unwrap().code, ErrorCode::ConfigurationInvalid);
    }
}
