//! On what a process listens, and what it says when it cannot.

use crate::fakes::{Process, Recorder, client, options};
use heddle_model::config::value::{ConfigValue, PortRange};
use heddle_model::config::{Configuration, Origin};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_rpc::RpcService;
use heddle_rpc::grpc::{GrpcRpcService, Options, Role, local_ip_towards};
use std::sync::Arc;

async fn refused(options: Options) -> Failure {
    match GrpcRpcService::bind(options).await {
        Ok((rpc, _)) => panic!("it listens on {}", rpc.local_address()),
        Err(failure) => failure,
    }
}

fn ports(text: &str) -> PortRange {
    PortRange::parse(text).unwrap()
}

#[tokio::test]
async fn the_first_free_port_of_a_range_is_taken() {
    let first = Process::start(options(Role::TaskExecutor)).await;
    let taken = first.local_address().port();
    let free = Process::start(options(Role::TaskExecutor)).await;
    let next = free.local_address().port();
    free.stop().await;
    let range = ports(&format!("{taken},{next}"));
    let second = Process::start(Options { ports: range, ..options(Role::TaskExecutor) }).await;
    assert_eq!(second.local_address().port(), next);
    assert_eq!(second.advertised(), format!("127.0.0.1:{next}"));
}

#[tokio::test]
async fn a_port_that_is_taken_names_the_option_to_change() {
    let first = Process::start(options(Role::JobManager)).await;
    let taken = first.local_address().port();
    let failure = refused(Options { ports: ports(&taken.to_string()), ..options(Role::JobManager) }).await;
    assert_eq!(failure.code, ErrorCode::PortUnavailable);
    let message = failure.message.replace(&taken.to_string(), "PORT");
    assert_eq!(
        message,
        "jobmanager cannot listen on 127.0.0.1 port PORT: Address already in use (os error 98); set \
         `jobmanager.rpc.port` to another value, or stop what holds it"
    );
}

#[tokio::test]
async fn a_host_of_another_machine_names_the_option_to_change() {
    for host in ["192.0.2.1", "no-such-host.invalid"] {
        let failure = refused(Options { bind_host: host.into(), ..options(Role::JobManager) }).await;
        assert_eq!(failure.code, ErrorCode::PortUnavailable);
        assert!(failure.message.contains("`jobmanager.bind-host`"), "{failure}");
        assert!(failure.message.contains(host), "{failure}");
    }
    let nameless = refused(Options { advertised_host: String::new(), ..options(Role::JobManager) }).await;
    assert_eq!(nameless.code, ErrorCode::ConfigurationInvalid);
}

#[tokio::test]
async fn the_advertised_host_may_differ_from_the_bound_one() {
    let bound = Options {
        bind_host: "0.0.0.0".into(),
        advertised_host: "localhost".into(),
        ..options(Role::JobManager)
    };
    let process = Process::start(bound).await;
    let address = process.address("dispatcher");
    assert_eq!(address.0, format!("heddle://localhost:{}/dispatcher", process.local_address().port()));
    process.serve_dispatcher(address.clone(), Arc::new(Recorder::default()));
    assert!(client().dispatcher(&address).unwrap().list_jobs().await.is_ok());
}

#[tokio::test]
async fn what_a_process_serves_itself_is_called_directly() {
    let process = Process::start(options(Role::JobManager)).await;
    let address = process.address("dispatcher");
    // Found once it is served, also by a gateway that was made before.
    let early = process.dispatcher(&address).unwrap();
    assert!(early.list_jobs().await.is_err());
    process.serve_dispatcher(address.clone(), Arc::new(Recorder::default()));
    assert!(early.list_jobs().await.is_ok());
    let received = process.metrics().calls_received.get();
    assert!(process.dispatcher(&address).unwrap().list_jobs().await.is_ok());
    assert_eq!(process.metrics().calls_received.get(), received);
}

#[test]
fn the_configuration_says_where() {
    let mut configuration = Configuration::new();
    let options = Options::job_manager(&configuration, None);
    assert_eq!((options.ports.to_string().as_str(), options.bind_host.as_str()), ("6123", "localhost"));
    for (key, value) in [
        ("taskmanager.rpc.port", "50100-50200"),
        ("taskmanager.bind-host", "0.0.0.0"),
        ("akka.ask.timeout", "3 s"),
    ] {
        configuration.set(key, value, Origin::DynamicProperty).unwrap();
    }
    let options = Options::task_executor(&configuration, Some("c".into()), || "found".into());
    assert_eq!((options.ports.to_string().as_str(), options.bind_host.as_str()), ("50100-50200", "0.0.0.0"));
    assert_eq!(options.advertised_host, "found");
    assert_eq!(options.limits.ask_timeout.as_secs(), 3);
    configuration.set("taskmanager.host", "worker-7", Origin::DynamicProperty).unwrap();
    assert_eq!(Options::task_executor(&configuration, None, || unreachable!()).advertised_host, "worker-7");
}

#[tokio::test]
async fn the_address_towards_a_peer_is_found_without_a_word_to_it() {
    assert!(local_ip_towards("127.0.0.1:9").await.unwrap().is_loopback());
    assert!(local_ip_towards("no-such-host.invalid:9").await.is_err());
}
