//! One node as an application master sees it: ContainerManagementProtocol,
//! with the node's token that the ResourceManager handed out.

use crate::id::ContainerId;
use crate::launch::Launch;
use crate::masters::{Container, ContainerStatus};
use crate::messages::yarn;
use crate::rpc::frame::Malformed;
use crate::rpc::{Client, Error, Login, Options, Protocol, Remote, Server};
use crate::token::Token;
use crate::types::NodeId;

const PROTOCOL: Protocol =
    Protocol { class: "org.apache.hadoop.yarn.api.ContainerManagementProtocolPB", server: "NodeManager" };

pub struct Node {
    client: Client,
    name: String,
}

impl Node {
    pub fn new(node: &NodeId, token: Token, options: Options) -> Self {
        let server = Server { host: node.host.clone(), port: node.port };
        let client = Client::new(PROTOCOL, vec![server], Login::Token(token), options);
        Self { client, name: node.to_string() }
    }

    /// Starts a container that the ResourceManager gave on this node. It runs
    /// some time after this: the node fetches its files first.
    pub async fn start(&self, container: &Container, launch: Launch) -> Result<(), Error> {
        let start = yarn::StartContainerRequest {
            container_launch_context: Some(launch.into()),
            container_token: Some(container.token.clone().into()),
        };
        let request = yarn::StartContainersRequest { start_container_request: vec![start] };
        let answer: yarn::StartContainersResponse = self.client.call("startContainers", &request).await?;
        self.none_failed("startContainers", answer.failed_requests)?;
        if answer.succeeded_requests.is_empty() {
            return Err(self.malformed(Malformed::Other("no word on the container to start")));
        }
        Ok(())
    }

    /// Ends a container, kindly first.
    pub async fn stop(&self, id: ContainerId) -> Result<(), Error> {
        let request = yarn::StopContainersRequest { container_id: vec![id.into()] };
        let answer: yarn::StopContainersResponse = self.client.call("stopContainers", &request).await?;
        self.none_failed("stopContainers", answer.failed_requests)
    }

    pub async fn status(&self, id: ContainerId) -> Result<ContainerStatus, Error> {
        let request = yarn::GetContainerStatusesRequest { container_id: vec![id.into()] };
        let answer: yarn::GetContainerStatusesResponse =
            self.client.call("getContainerStatuses", &request).await?;
        self.none_failed("getContainerStatuses", answer.failed_requests)?;
        let status = answer.status.into_iter().next();
        let status = status.ok_or_else(|| self.malformed(Malformed::Other("no status of the container")))?;
        status.try_into().map_err(|error| self.malformed(error))
    }

    fn none_failed(&self, method: &str, failed: Vec<yarn::ContainerException>) -> Result<(), Error> {
        let Some(first) = failed.into_iter().next() else { return Ok(()) };
        let exception = first.exception.unwrap_or_default();
        let class = exception.class_name.unwrap_or_else(|| "unknown".to_owned());
        let remote = Remote::new(&self.name, method, class, &exception.message.unwrap_or_default());
        Err(Error::Remote(Box::new(remote)))
    }

    fn malformed(&self, malformed: Malformed) -> Error {
        Error::Malformed { server: self.name.clone(), malformed }
    }
}
