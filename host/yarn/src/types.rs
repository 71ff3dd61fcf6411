//! What YARN's services say, as plain data: resources, reports of applications,
//! nodes and queues. Knows no protocol.

use crate::id::{ApplicationId, AttemptId};
use crate::messages::yarn;
use crate::rpc::frame::Malformed;
use std::fmt;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    pub memory_mib: u64,
    pub vcores: u32,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB, {} vcores", self.memory_mib, self.vcores)
    }
}

impl From<Resource> for yarn::Resource {
    fn from(resource: Resource) -> Self {
        Self {
            memory: Some(i64::try_from(resource.memory_mib).unwrap_or(i64::MAX)),
            virtual_cores: Some(i32::try_from(resource.vcores).unwrap_or(i32::MAX)),
            resource_value_map: Vec::new(),
        }
    }
}

impl From<yarn::Resource> for Resource {
    /// What is used may be below nothing for a moment; that is nothing.
    fn from(resource: yarn::Resource) -> Self {
        Self {
            memory_mib: u64::try_from(resource.memory()).unwrap_or(0),
            vcores: u32::try_from(resource.virtual_cores()).unwrap_or(0),
        }
    }
}

/// Where a NodeManager listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl TryFrom<yarn::NodeId> for NodeId {
    type Error = Malformed;

    fn try_from(id: yarn::NodeId) -> Result<Self, Malformed> {
        match (id.host, id.port.and_then(|port| u16::try_from(port).ok())) {
            (Some(host), Some(port)) => Ok(Self { host, port }),
            _ => Err(Malformed::Other("a node without host and port")),
        }
    }
}

pub use yarn::FinalApplicationStatus as FinalStatus;
pub use yarn::NodeState;
pub use yarn::YarnApplicationState as ApplicationState;

/// Whether an application will never change again.
pub fn is_terminal(state: ApplicationState) -> bool {
    matches!(state, ApplicationState::Finished | ApplicationState::Failed | ApplicationState::Killed)
}

#[derive(Clone, Debug, PartialEq)]
pub struct ApplicationReport {
    pub id: ApplicationId,
    pub user: String,
    pub queue: String,
    pub name: String,
    pub application_type: String,
    pub tags: Vec<String>,
    pub state: ApplicationState,
    pub final_status: FinalStatus,
    pub diagnostics: String,
    /// The application master's, once it has registered.
    pub host: Option<String>,
    pub rpc_port: Option<u16>,
    /// By way of the ResourceManager's proxy.
    pub tracking_url: String,
    /// As the application master gave it.
    pub original_tracking_url: String,
    pub attempt: Option<AttemptId>,
    pub progress: f32,
}

impl TryFrom<yarn::ApplicationReport> for ApplicationReport {
    type Error = Malformed;

    fn try_from(mut report: yarn::ApplicationReport) -> Result<Self, Malformed> {
        let id = report.application_id.take().ok_or(Malformed::Other("a report without an id"))?;
        let id = ApplicationId::try_from(id)?;
        if report.yarn_application_state.is_none() {
            return Err(Malformed::Other("a report without a state"));
        }
        let attempt = report.current_application_attempt_id.as_ref().and_then(|attempt| attempt.attempt_id);
        Ok(Self {
            id,
            state: report.yarn_application_state(),
            final_status: report.final_application_status(),
            attempt: attempt.map(|number| AttemptId { application: id, number }),
            rpc_port: report.rpc_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0),
            // `N/A` is the ResourceManager's word for what is not known yet.
            host: report.host.filter(|host| !host.is_empty() && host != "N/A"),
            user: report.user.unwrap_or_default(),
            queue: report.queue.unwrap_or_default(),
            name: report.name.unwrap_or_default(),
            application_type: report.application_type.unwrap_or_default(),
            tags: report.application_tags,
            diagnostics: report.diagnostics.unwrap_or_default().trim().to_owned(),
            tracking_url: report.tracking_url.unwrap_or_default(),
            original_tracking_url: report.original_tracking_url.unwrap_or_default(),
            progress: report.progress.unwrap_or_default(),
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    pub id: NodeId,
    pub state: NodeState,
    pub rack: String,
    pub used: Resource,
    pub capability: Resource,
    pub containers: u32,
    pub labels: Vec<String>,
}

impl NodeReport {
    /// What more it can hold.
    pub fn free(&self) -> Resource {
        Resource {
            memory_mib: self.capability.memory_mib.saturating_sub(self.used.memory_mib),
            vcores: self.capability.vcores.saturating_sub(self.used.vcores),
        }
    }
}

impl TryFrom<yarn::NodeReport> for NodeReport {
    type Error = Malformed;

    fn try_from(report: yarn::NodeReport) -> Result<Self, Malformed> {
        let state = report.node_state();
        let id = report.node_id.ok_or(Malformed::Other("a report of no node"))?;
        Ok(Self {
            id: id.try_into()?,
            state,
            rack: report.rack_name.unwrap_or_default(),
            used: report.used.map(Resource::from).unwrap_or_default(),
            capability: report.capability.map(Resource::from).unwrap_or_default(),
            containers: report.num_containers.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            labels: report.node_labels,
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// The last part of its path.
    pub name: String,
    /// `root.a.b`; older ResourceManagers do not say it.
    pub path: Option<String>,
    /// Of its parent, 0 to 1.
    pub capacity: f32,
    pub is_running: bool,
    pub children: Vec<Queue>,
}

/// A queue's children have children; no more than this.
const QUEUE_LEVELS_MAX: usize = 32;

impl Queue {
    pub(crate) fn new(info: yarn::QueueInfo) -> Result<Self, Malformed> {
        Self::at(info, 0)
    }

    fn at(info: yarn::QueueInfo, level: usize) -> Result<Self, Malformed> {
        if level > QUEUE_LEVELS_MAX {
            return Err(Malformed::Other("too many levels of queues"));
        }
        let is_running = info.state() == yarn::QueueState::QRunning;
        let children = info.child_queues.into_iter().map(|child| Self::at(child, level + 1));
        Ok(Self {
            name: info.queue_name.unwrap_or_default(),
            path: info.queue_path,
            capacity: info.capacity.unwrap_or_default(),
            is_running,
            children: children.collect::<Result<_, _>>()?,
        })
    }

    /// Whether it, or a queue below it, goes by this name or path.
    pub fn has(&self, name: &str) -> bool {
        self.name == name
            || self.path.as_deref() == Some(name)
            || self.children.iter().any(|child| child.has(name))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterMetrics {
    pub node_managers: u32,
    pub active: u32,
    pub lost: u32,
    pub unhealthy: u32,
}

impl From<yarn::YarnClusterMetrics> for ClusterMetrics {
    fn from(metrics: yarn::YarnClusterMetrics) -> Self {
        let count = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        Self {
            node_managers: count(metrics.num_node_managers),
            active: count(metrics.num_active_nms),
            lost: count(metrics.num_lost_nms),
            unhealthy: count(metrics.num_unhealthy_nms),
        }
    }
}
