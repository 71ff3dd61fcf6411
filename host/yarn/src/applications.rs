//! The ResourceManager as clients see it: ApplicationClientProtocol.

use crate::id::ApplicationId;
use crate::launch::Launch;
use crate::messages::yarn;
use crate::rpc::frame::Malformed;
use crate::rpc::{Client, Error, Login, Options, Protocol, Server};
use crate::types::{ApplicationReport, ClusterMetrics, NodeReport, NodeState, Queue, Resource};
use std::time::Duration;

const PROTOCOL: Protocol =
    Protocol { class: "org.apache.hadoop.yarn.api.ApplicationClientProtocolPB", server: "ResourceManager" };

/// An application to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    pub id: ApplicationId,
    pub name: String,
    pub application_type: String,
    pub queue: String,
    pub priority: Option<i32>,
    pub tags: Vec<String>,
    /// Of the application master's container.
    pub resource: Resource,
    pub node_label: Option<String>,
    /// How often the application master is started, at the most.
    pub attempts_max: u32,
    /// Failures of attempts count for so long.
    pub failures_validity: Option<Duration>,
    /// Whether the next attempt takes over the containers of the one before.
    pub keep_containers: bool,
    pub launch: Launch,
    /// Files of logs that are collected while the application runs.
    pub rolled_logs_include: Option<String>,
    pub rolled_logs_exclude: Option<String>,
}

impl From<Submission> for yarn::ApplicationSubmissionContext {
    fn from(submission: Submission) -> Self {
        let logs = (submission.rolled_logs_include.is_some() || submission.rolled_logs_exclude.is_some())
            .then_some(yarn::LogAggregationContext {
                include_pattern: None,
                exclude_pattern: None,
                rolled_logs_include_pattern: submission.rolled_logs_include,
                rolled_logs_exclude_pattern: submission.rolled_logs_exclude,
            });
        let validity =
            submission.failures_validity.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        Self {
            application_id: Some(submission.id.into()),
            application_name: Some(submission.name),
            queue: Some(submission.queue),
            priority: submission.priority.map(|priority| yarn::Priority { priority: Some(priority) }),
            am_container_spec: Some(submission.launch.into()),
            cancel_tokens_when_complete: Some(true),
            unmanaged_am: Some(false),
            max_app_attempts: Some(i32::try_from(submission.attempts_max).unwrap_or(i32::MAX)),
            resource: Some(submission.resource.into()),
            application_type: Some(submission.application_type),
            keep_containers_across_application_attempts: Some(submission.keep_containers),
            application_tags: submission.tags,
            attempt_failures_validity_interval: validity,
            log_aggregation_context: logs,
            node_label_expression: submission.node_label,
            am_container_resource_request: Vec::new(),
        }
    }
}

/// An application that was given an id and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewApplication {
    pub id: ApplicationId,
    /// The most that one container can have.
    pub maximum: Resource,
}

pub struct Applications {
    client: Client,
    servers: String,
}

impl Applications {
    pub fn new(servers: Vec<Server>, login: Login, options: Options) -> Self {
        let names: Vec<String> = servers.iter().map(Server::to_string).collect();
        Self { servers: names.join(", "), client: Client::new(PROTOCOL, servers, login, options) }
    }

    fn malformed(&self, malformed: Malformed) -> Error {
        Error::Malformed { server: self.servers.clone(), malformed }
    }

    fn missing(&self, what: &'static str) -> Error {
        self.malformed(Malformed::Other(what))
    }

    pub async fn new_application(&self) -> Result<NewApplication, Error> {
        let request = yarn::GetNewApplicationRequest {};
        let answer: yarn::GetNewApplicationResponse = self.client.call("getNewApplication", &request).await?;
        let id = answer.application_id.ok_or_else(|| self.missing("a new application without an id"))?;
        let maximum = answer.maximum_capability.map(Resource::from).unwrap_or_default();
        Ok(NewApplication { id: id.try_into().map_err(|error| self.malformed(error))?, maximum })
    }

    /// The ResourceManager has it once its report says SUBMITTED or later.
    pub async fn submit(&self, submission: Submission) -> Result<(), Error> {
        let request =
            yarn::SubmitApplicationRequest { application_submission_context: Some(submission.into()) };
        let _: yarn::SubmitApplicationResponse = self.client.call("submitApplication", &request).await?;
        Ok(())
    }

    pub async fn report(&self, id: ApplicationId) -> Result<ApplicationReport, Error> {
        let request = yarn::GetApplicationReportRequest { application_id: Some(id.into()) };
        let answer: yarn::GetApplicationReportResponse =
            self.client.call("getApplicationReport", &request).await?;
        let report = answer.application_report.ok_or_else(|| self.missing("no report"))?;
        report.try_into().map_err(|error| self.malformed(error))
    }

    /// Whether it has ended; otherwise ask again.
    pub async fn kill(&self, id: ApplicationId, diagnostics: &str) -> Result<bool, Error> {
        let request = yarn::KillApplicationRequest {
            application_id: Some(id.into()),
            diagnostics: Some(diagnostics.to_owned()),
        };
        let answer: yarn::KillApplicationResponse =
            self.client.call("forceKillApplication", &request).await?;
        Ok(answer.is_kill_completed())
    }

    pub async fn cluster_metrics(&self) -> Result<ClusterMetrics, Error> {
        let request = yarn::GetClusterMetricsRequest {};
        let answer: yarn::GetClusterMetricsResponse = self.client.call("getClusterMetrics", &request).await?;
        answer.cluster_metrics.map(ClusterMetrics::from).ok_or_else(|| self.missing("no metrics"))
    }

    /// The nodes in these states; in all if none is given.
    pub async fn nodes(&self, states: &[NodeState]) -> Result<Vec<NodeReport>, Error> {
        let states = states.iter().map(|state| (*state).into()).collect();
        let request = yarn::GetClusterNodesRequest { node_states: states };
        let answer: yarn::GetClusterNodesResponse = self.client.call("getClusterNodes", &request).await?;
        let reports: Result<Vec<NodeReport>, Malformed> =
            answer.node_reports.into_iter().map(NodeReport::try_from).collect();
        reports.map_err(|error| self.malformed(error))
    }

    /// A queue and all below it; none if there is no such queue.
    pub async fn queue(&self, name: &str) -> Result<Option<Queue>, Error> {
        let request = yarn::GetQueueInfoRequest {
            queue_name: Some(name.to_owned()),
            include_applications: Some(false),
            include_child_queues: Some(true),
            recursive: Some(true),
        };
        let answer: yarn::GetQueueInfoResponse = self.client.call("getQueueInfo", &request).await?;
        answer.queue_info.map(Queue::new).transpose().map_err(|error| self.malformed(error))
    }
}
