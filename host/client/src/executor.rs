//! The cluster that the configuration's target names: one of its own within
//! this process, or one on a network.

use crate::{ClusterClient, Connection, EmbeddedCluster, Sandbox};
use heddle_connectors::Console;
use heddle_model::config::value::Target;
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::Failure;
use std::sync::Arc;

/// A cluster to run jobs on.
pub struct Executor {
    client: ClusterClient,
    /// The cluster, if it is this process's own.
    own: Option<EmbeddedCluster>,
}

impl Executor {
    /// Starts a cluster in this process, or makes a client of the one on a
    /// network. What `print` writes in this process goes to the console;
    /// `connection` hears of a network.
    ///
    /// # Errors
    /// As [`EmbeddedCluster::start`] and [`ClusterClient::remote`].
    pub fn start(
        configuration: &Configuration,
        sandbox: &Sandbox,
        console: Arc<dyn Console>,
        connection: Arc<dyn Connection>,
    ) -> Result<Self, Failure> {
        if configuration.get(&o::EXECUTION_TARGET) == Target::Remote {
            return Ok(Self { client: ClusterClient::remote(configuration, connection)?, own: None });
        }
        let cluster = EmbeddedCluster::start(configuration, sandbox, console)?;
        Ok(Self { client: ClusterClient::new(cluster.dispatcher()), own: Some(cluster) })
    }

    pub fn client(&self) -> &ClusterClient {
        &self.client
    }

    /// Waits until the cluster of this process ends by itself, and tells why.
    /// Cancel-safe.
    pub async fn failed(&mut self) -> Failure {
        match &mut self.own {
            Some(cluster) => cluster.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Stops the cluster, if it is this process's own.
    pub async fn shut_down(self) {
        if let Some(cluster) = self.own {
            cluster.shut_down().await;
        }
    }
}
