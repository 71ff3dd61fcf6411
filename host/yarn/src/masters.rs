//! The ResourceManager as an application master sees it:
//! ApplicationMasterProtocol. Its token is needed on every cluster.

use crate::id::ContainerId;
use crate::messages::yarn;
use crate::rpc::frame::Malformed;
use crate::rpc::{Client, Error, Login, Options, Protocol, Server};
use crate::token::Token;
use crate::types::{FinalStatus, NodeId, NodeReport, Resource};

const PROTOCOL: Protocol = Protocol {
    class: "org.apache.hadoop.yarn.api.ApplicationMasterProtocolPB",
    server: "ResourceManager's scheduler",
};

/// A container that the ResourceManager has given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: ContainerId,
    pub node: NodeId,
    pub node_http: String,
    pub resource: Resource,
    pub priority: i32,
    /// What its node wants to see before it starts it.
    pub token: Token,
}

impl TryFrom<yarn::Container> for Container {
    type Error = Malformed;

    fn try_from(container: yarn::Container) -> Result<Self, Malformed> {
        let missing = Malformed::Other("a container with a part missing");
        let (Some(id), Some(node), Some(token)) =
            (container.id, container.node_id, container.container_token)
        else {
            return Err(missing);
        };
        Ok(Self {
            id: id.try_into()?,
            node: node.try_into()?,
            node_http: container.node_http_address.unwrap_or_default(),
            resource: container.resource.map(Resource::from).unwrap_or_default(),
            priority: container.priority.and_then(|priority| priority.priority).unwrap_or(0),
            token: token.into(),
        })
    }
}

/// How a container ended, or how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    pub id: ContainerId,
    pub is_complete: bool,
    /// Its process's, or one of YARN's own, below 0.
    pub exit_status: i32,
    pub diagnostics: String,
}

impl TryFrom<yarn::ContainerStatus> for ContainerStatus {
    type Error = Malformed;

    fn try_from(status: yarn::ContainerStatus) -> Result<Self, Malformed> {
        let (is_complete, exit_status) =
            (status.state() == yarn::ContainerState::CComplete, status.exit_status());
        let id = status.container_id.ok_or(Malformed::Other("the status of no container"))?;
        let diagnostics = status.diagnostics.unwrap_or_default().trim().to_owned();
        Ok(Self { id: id.try_into()?, is_complete, exit_status, diagnostics })
    }
}

/// What is wanted of one priority and size, in all: a new number replaces the
/// one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    pub priority: i32,
    pub resource: Resource,
    pub count: u32,
    pub node_label: Option<String>,
}

impl From<Ask> for yarn::ResourceRequest {
    fn from(ask: Ask) -> Self {
        Self {
            priority: Some(yarn::Priority { priority: Some(ask.priority) }),
            // Any node.
            resource_name: Some("*".to_owned()),
            capability: Some(ask.resource.into()),
            num_containers: Some(i32::try_from(ask.count).unwrap_or(i32::MAX)),
            relax_locality: Some(true),
            node_label_expression: ask.node_label,
        }
    }
}

/// What a master hears when it registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// The most that one container can have.
    pub maximum: Resource,
    pub queue: String,
    /// Containers that earlier attempts have left running.
    pub containers: Vec<Container>,
    pub node_tokens: Vec<(NodeId, Token)>,
}

/// What has happened since the last heartbeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocated {
    pub response_id: i32,
    pub allocated: Vec<Container>,
    pub completed: Vec<ContainerStatus>,
    pub updated_nodes: Vec<NodeReport>,
    pub node_tokens: Vec<(NodeId, Token)>,
    /// Of earlier attempts; those that a ResourceManager finds late.
    pub recovered: Vec<Container>,
    /// Those that will be taken away.
    pub preempted: Vec<ContainerId>,
    /// What more this queue could give.
    pub available: Resource,
    /// Takes the place of the token that was used so far.
    pub token: Option<Token>,
    /// The ResourceManager wants this master to end.
    pub is_shutdown: bool,
}

pub struct Masters {
    client: Client,
    servers: String,
}

impl Masters {
    pub fn new(servers: Vec<Server>, token: Token, options: Options) -> Self {
        let names: Vec<String> = servers.iter().map(Server::to_string).collect();
        let client = Client::new(PROTOCOL, servers, Login::Token(token), options);
        Self { client, servers: names.join(", ") }
    }

    fn malformed(&self, malformed: Malformed) -> Error {
        Error::Malformed { server: self.servers.clone(), malformed }
    }

    pub async fn register(&self, host: &str, port: u16, tracking_url: &str) -> Result<Registered, Error> {
        let request = yarn::RegisterApplicationMasterRequest {
            host: Some(host.to_owned()),
            rpc_port: Some(i32::from(port)),
            tracking_url: Some(tracking_url.to_owned()),
        };
        let answer: yarn::RegisterApplicationMasterResponse =
            self.client.call("registerApplicationMaster", &request).await?;
        let read = || {
            Ok(Registered {
                maximum: answer.maximum_capability.map(Resource::from).unwrap_or_default(),
                queue: answer.queue.unwrap_or_default(),
                containers: all(answer.containers_from_previous_attempts)?,
                node_tokens: node_tokens(answer.nm_tokens_from_previous_attempts)?,
            })
        };
        read().map_err(|error| self.malformed(error))
    }

    /// The heartbeat. `ApplicationMasterNotRegisteredException` means that the
    /// ResourceManager was started again: register, and ask for all once more.
    /// A new token is used from then on.
    pub async fn allocate(
        &self,
        response_id: i32,
        progress: f32,
        asks: Vec<Ask>,
        releases: &[ContainerId],
    ) -> Result<Allocated, Error> {
        let request = yarn::AllocateRequest {
            ask: asks.into_iter().map(yarn::ResourceRequest::from).collect(),
            release: releases.iter().map(|id| (*id).into()).collect(),
            blacklist_request: None,
            response_id: Some(response_id),
            progress: Some(progress),
            tracking_url: None,
        };
        let answer: yarn::AllocateResponse = self.client.call("allocate", &request).await?;
        let allocated = allocated(answer).map_err(|error| self.malformed(error))?;
        if let Some(token) = &allocated.token {
            self.client.set_login(Login::Token(token.clone())).await;
        }
        Ok(allocated)
    }

    /// Whether the ResourceManager has written it down; otherwise say it again.
    pub async fn finish(
        &self,
        status: FinalStatus,
        diagnostics: &str,
        tracking_url: &str,
    ) -> Result<bool, Error> {
        let request = yarn::FinishApplicationMasterRequest {
            diagnostics: Some(diagnostics.to_owned()),
            tracking_url: Some(tracking_url.to_owned()),
            final_application_status: Some(status.into()),
        };
        let answer: yarn::FinishApplicationMasterResponse =
            self.client.call("finishApplicationMaster", &request).await?;
        Ok(answer.is_unregistered())
    }
}

fn allocated(answer: yarn::AllocateResponse) -> Result<Allocated, Malformed> {
    let is_shutdown = answer.a_m_command == Some(yarn::AmCommand::AmShutdown.into());
    let preempt = answer.preempt.unwrap_or_default();
    let strict = preempt.strict_contract.unwrap_or_default().container;
    let agreed = preempt.contract.unwrap_or_default().container;
    let preempted = strict.into_iter().chain(agreed).filter_map(|container| container.id);
    Ok(Allocated {
        response_id: answer.response_id.ok_or(Malformed::Other("a heartbeat without a number"))?,
        allocated: all(answer.allocated_containers)?,
        completed: all(answer.completed_container_statuses)?,
        updated_nodes: all(answer.updated_nodes)?,
        node_tokens: node_tokens(answer.nm_tokens)?,
        recovered: all(answer.containers_from_previous_attempts)?,
        preempted: preempted.map(ContainerId::try_from).collect::<Result<_, _>>()?,
        available: answer.limit.map(Resource::from).unwrap_or_default(),
        token: answer.am_rm_token.map(Token::from),
        is_shutdown,
    })
}

fn all<M, T: TryFrom<M, Error = Malformed>>(messages: Vec<M>) -> Result<Vec<T>, Malformed> {
    messages.into_iter().map(T::try_from).collect()
}

fn node_tokens(tokens: Vec<yarn::NmToken>) -> Result<Vec<(NodeId, Token)>, Malformed> {
    let one = |token: yarn::NmToken| match (token.node_id, token.token) {
        (Some(node), Some(token)) => Ok((NodeId::try_from(node)?, Token::from(token))),
        _ => Err(Malformed::Other("a node's token with a part missing")),
    };
    tokens.into_iter().map(one).collect()
}
