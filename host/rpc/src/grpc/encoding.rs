//! Tests of the encoding: what is random comes back as it was, what is damaged
//! does no harm, and the samples of `proto/golden/rpc` stay readable.
//! `UPDATE_EXPECT=1` writes them anew, after a new version of the protocol.

#[path = "../../tests/grpc/random.rs"]
mod random;
#[path = "../../tests/grpc/samples.rs"]
mod samples;

use super::{Leaders, proto, task_executor, wire};
use crate::{
    Address, ClusterOverview, Error, JobDetails, JobOverview, JobResult, SlotReport, TaskExecutorHeartbeat,
};
use bytes::Bytes;
use heddle_model::id::{DispatcherId, ResourceManagerId};
use heddle_model::job_graph::{JobGraph, JobVertex};
use heddle_model::task::{
    InputGateDescriptor, JobInformation, ResultPartitionDescriptor, TaskExecutionState,
};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, proptest};
use prost::Message;
use random::Dice;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::PathBuf;

fn there_and_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let bytes = wire::encode(value).unwrap();
    assert_eq!(&wire::decode::<T>(&bytes, "a sample").unwrap(), value);
    // Whatever is cut off, or too much, is noticed.
    if !bytes.is_empty() {
        assert!(wire::decode::<T>(&bytes[..bytes.len() - 1], "a sample").is_err());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(wire::decode::<T>(&longer, "a sample").is_err());
}

/// A value or an error, never a panic.
fn read_damaged<T: Serialize + DeserializeOwned>(value: &T, at: usize, with: u8) {
    let mut bytes = wire::encode(value).unwrap().to_vec();
    let at = at % bytes.len();
    bytes[at] = with;
    let _ = wire::decode::<T>(&bytes, "damage");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_travels_comes_back_as_it_was(bytes in vec(any::<u8>(), 0..2_000)) {
        let mut dice = Dice(&bytes);
        there_and_back(&dice.job_graph());
        there_and_back(&dice.vertex());
        there_and_back(&dice.job_information());
        there_and_back(&vec![dice.input(), dice.input()]);
        there_and_back(&vec![dice.result_partition()]);
        there_and_back(&dice.task_state());
        there_and_back(&dice.heartbeat());
        there_and_back(&dice.slot_report());
        there_and_back(&vec![dice.job_overview()]);
        there_and_back(&dice.job_details());
        there_and_back(&dice.cluster_overview());
        there_and_back(&dice.job_result());
    }

    #[test]
    fn what_is_damaged_does_no_harm(bytes in vec(any::<u8>(), 0..500), at: usize, with: u8) {
        let mut dice = Dice(&bytes);
        read_damaged(&dice.job_graph(), at, with);
        read_damaged(&dice.task_state(), at, with);
        read_damaged(&dice.job_details(), at, with);
        let _ = wire::decode::<JobGraph>(&bytes, "noise");
        let _ = wire::decode::<TaskExecutorHeartbeat>(&bytes, "noise");
        let _ = proto::SubmitTasksRequest::decode(&bytes[..]);
        let _ = proto::Error::decode(&bytes[..]);
    }
}

/// Compares a message with its sample, and gives the sample, decoded.
fn golden<M: Message + Default + PartialEq>(name: &str, message: &M) -> M {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/golden/rpc").join(name);
    let digits: String = message.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
    // Lines of 32 bytes.
    let lines: Vec<&str> =
        digits.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    expect_test::expect_file![&path].assert_eq(&(lines.join("\n") + "\n"));
    let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
    let bytes: Vec<u8> =
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
    M::decode(&bytes[..]).unwrap()
}

fn same<T: DeserializeOwned + PartialEq + Debug>(bytes: &Bytes, expected: &T) {
    assert_eq!(&wire::decode::<T>(bytes, "a sample").unwrap(), expected);
}

fn endpoint() -> String {
    "jobmaster/1/2".into()
}

#[test]
fn samples_of_what_clients_and_the_dispatcher_say_stay_readable() {
    let job_graph = wire::encode(&samples::job_graph()).unwrap();
    let submit = golden("submit-job.hex", &proto::SubmitJobRequest { endpoint: endpoint(), job_graph });
    same::<JobGraph>(&submit.job_graph, &samples::job_graph());
    let jobs = vec![samples::job_overview()];
    let list = golden("list-jobs-reply.hex", &proto::ListJobsReply { jobs: wire::encode(&jobs).unwrap() });
    same::<Vec<JobOverview>>(&list.jobs, &jobs);
    let details = wire::encode(&samples::job_details()).unwrap();
    let details = golden("job-details.hex", &proto::JobDetails { details });
    same::<JobDetails>(&details.details, &samples::job_details());
    let overview = wire::encode(&samples::cluster_overview()).unwrap();
    let overview = golden("cluster-overview-reply.hex", &proto::ClusterOverviewReply { overview });
    same::<ClusterOverview>(&overview.overview, &samples::cluster_overview());
    let result = Some(wire::encode(&samples::job_result()).unwrap());
    let result = golden("job-result-reply.hex", &proto::JobResultReply { result });
    same::<JobResult>(&result.result.unwrap(), &samples::job_result());
}

#[test]
fn samples_of_what_task_executors_hear_stay_readable() {
    let job = wire::encode(&samples::job_information()).unwrap();
    let (vertices, tasks) = task_executor::pack(&samples::tasks()).unwrap();
    let request =
        proto::SubmitTasksRequest { endpoint: endpoint(), token: wire::id(1), job, vertices, tasks };
    let submit = golden("submit-tasks.hex", &request);
    same::<JobInformation>(&submit.job, &samples::job_information());
    same::<JobVertex>(&submit.vertices[0], &samples::vertex());
    same::<Vec<InputGateDescriptor>>(&submit.tasks[0].inputs, &samples::tasks()[0].inputs);
    same::<Vec<ResultPartitionDescriptor>>(&submit.tasks[0].outputs, &samples::tasks()[0].outputs);
    assert_eq!(task_executor::unpack(&submit.vertices, submit.tasks).unwrap(), samples::tasks());

    let request = proto::TaskExecutorSlotRequest {
        endpoint: endpoint(),
        token: wire::id(1),
        slot: Some(samples::slot().into()),
        job_id: wire::id(samples::JOB.0),
        allocation_id: wire::id(samples::ALLOCATION.0),
        profile: Some(samples::profile().into()),
        job_master: "heddle://a:1/jobmaster/1/2".into(),
        job_master_id: wire::id(2),
    };
    assert_eq!(golden("request-slot.hex", &request), request);
}

#[test]
fn samples_of_what_task_executors_say_stay_readable() {
    let token = || wire::id(u128::MAX - 1);
    let state = wire::encode(&samples::task_state()).unwrap();
    let request = proto::TaskExecutionStateRequest { endpoint: endpoint(), token: token(), state };
    let state = golden("task-execution-state.hex", &request);
    same::<TaskExecutionState>(&state.state, &samples::task_state());
    let payload = wire::encode(&samples::heartbeat()).unwrap();
    let resource_id = "worker".to_owned();
    let request =
        proto::TaskExecutorHeartbeatRequest { endpoint: endpoint(), token: token(), resource_id, payload };
    let heartbeat = golden("task-executor-heartbeat.hex", &request);
    same::<TaskExecutorHeartbeat>(&heartbeat.payload, &samples::heartbeat());
    let report = wire::encode(&samples::slot_report()).unwrap();
    let request =
        proto::SlotReportRequest { endpoint: endpoint(), token: token(), instance_id: wire::id(4), report };
    same::<SlotReport>(&golden("slot-report.hex", &request).report, &samples::slot_report());
    let request = proto::InputSplitRequest {
        endpoint: endpoint(),
        token: token(),
        attempt: Some(samples::attempt().into()),
    };
    let split = golden("input-split.hex", &request);
    assert_eq!(
        heddle_model::id::ExecutionAttemptId::try_from(split.attempt.unwrap()),
        Ok(samples::attempt())
    );
}

#[test]
fn samples_of_the_first_contact_and_of_errors_stay_readable() {
    let leaders = Leaders {
        dispatcher: Some((Address("heddle://a:1/dispatcher".into()), DispatcherId(1))),
        resource_manager: Some((Address("heddle://a:1/resourcemanager".into()), ResourceManagerId(2))),
        blob_server: Some(Address("heddle://a:1/blobserver".into())),
    };
    let reply = proto::HelloReply {
        protocol: 1,
        build: "0.1.0".into(),
        role: "jobmanager".into(),
        cluster_id: "cluster".into(),
        leaders: Some(leaders.clone().into()),
    };
    let reply = golden("hello-reply.hex", &reply);
    assert_eq!(Leaders::try_from(reply.leaders.unwrap()), Ok(leaders));
    let address = Address("heddle://a:1/x".into());
    for (name, error) in [
        ("error-unreachable.hex", Error::Unreachable { address: address.clone() }),
        ("error-fenced.hex", Error::Fenced { expected: "1".into(), got: "2".into() }),
        ("error-failure.hex", Error::Failure(samples::failure())),
    ] {
        let status = wire::status_of(error.clone());
        let sample = golden(name, &proto::Error::decode(status.details()).unwrap());
        let details = sample.encode_to_vec().into();
        let status = tonic::Status::with_details(status.code(), "", details);
        assert_eq!(wire::error_of(&status, &address, "call"), error);
    }
}
