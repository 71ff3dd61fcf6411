//! The JobManager's process: its services in Flink's order, its roles, and its
//! end.

use crate::component::{Component, ComponentOptions, DriverFactory};
use crate::environment::Environment;
use crate::folders::Folders;
use crate::high_availability::HighAvailability;
use crate::leadership::OnLeadership;
use crate::role::Role;
use crate::signals::Signals;
use crate::status::{ApplicationStatus, End};
use heddle_ha::files::Election;
use heddle_model::config::{Configuration, Origin, options as o};
use heddle_model::failure::Failure;
use heddle_model::id::ResourceManagerId;
use heddle_resource_manager::{ResourceManagerDriver, StandaloneDriver};
use heddle_rpc::grpc::{GrpcRpcService, Leaders, Options};
use heddle_rpc::{Address, DispatcherGateway, RpcService};
use std::sync::Arc;
use tracing::{error, info};

/// A JobManager that is to be.
pub struct ClusterEntrypoint {
    pub environment: Environment,
    pub configuration: Configuration,
}

/// One that runs.
pub struct RunningCluster {
    configuration: Configuration,
    rpc: GrpcRpcService,
    server: Role,
    component: Component,
    folders: Folders,
}

impl ClusterEntrypoint {
    /// Starts services and roles. It answers when this returns, and leads once
    /// it is elected.
    ///
    /// # Errors
    /// What keeps a service from starting: a port that is taken, a folder that
    /// cannot be used, a configuration that does not add up.
    pub async fn start(self) -> Result<RunningCluster, Failure> {
        let make = Box::new(|_| Box::new(StandaloneDriver) as Box<dyn ResourceManagerDriver>);
        let driver = async |_: &str, _: &Configuration| Ok(DriverFactory { make, starts_workers: false });
        self.start_as(Election::Lock, driver).await
    }

    /// The same for a JobManager that somebody else starts once the one before
    /// has ended: it leads at once. It has workers that `driver` brings, which
    /// is told where this process is reached, once that is known, and its
    /// configuration.
    ///
    /// # Errors
    /// As [`ClusterEntrypoint::start`], and those of the driver.
    pub async fn start_with(
        self,
        driver: impl AsyncFnOnce(&str, &Configuration) -> Result<DriverFactory, Failure>,
    ) -> Result<RunningCluster, Failure> {
        self.start_as(Election::LastComer, driver).await
    }

    async fn start_as(
        self,
        election: Election,
        driver: impl AsyncFnOnce(&str, &Configuration) -> Result<DriverFactory, Failure>,
    ) -> Result<RunningCluster, Failure> {
        let Self { environment, mut configuration } = self;
        environment.log(&configuration);
        info!("initializing the services of the cluster");
        let cluster_id = configuration.get(&o::CLUSTER_ID);
        let options = Options::job_manager(&configuration, Some(cluster_id.clone()));
        let (rpc, server) = GrpcRpcService::bind(options).await?;
        let port = rpc.local_address().port();
        configuration.set(o::JOB_MANAGER_RPC_PORT.key(), &port.to_string(), Origin::Process)?;
        let server = Role::start("rpc server", |stop| async move {
            server.run(stop).await;
            Ok::<(), Failure>(())
        });
        let ha = HighAvailability::services(&configuration, election).await?;
        info!(kind = %configuration.get(&o::HIGH_AVAILABILITY), cluster_id, "high-availability services");
        let folders = Folders::create(&configuration, "jobmanager")?;
        let blobs = folders.open_blob_server(&configuration)?;
        let service: Arc<dyn RpcService> = Arc::new(rpc.clone());
        let blob_server = service.address("blobserver");
        service.serve_blob_server(blob_server.clone(), Arc::new(blobs.clone()));
        info!(address = %blob_server, folder = %folders.blobs().display(), "blob server");
        let finished_job_folder = folders.working().join("executionGraphStore");
        info!(folder = %finished_job_folder.display(), "execution graph store");

        let driver = driver(rpc.advertised(), &configuration).await?;
        let options = ComponentOptions {
            on_leadership: publish(&rpc, blob_server),
            rpc: service,
            ha,
            blobs,
            driver,
            finished_job_folder: Some(finished_job_folder),
        };
        let component = Component::start(&configuration, options)?;
        info!(address = rpc.advertised(), "JobManager started");
        Ok(RunningCluster { configuration, rpc, server, component, folders })
    }
}

/// Tells who asks for them of the leaders in this process.
fn publish(rpc: &GrpcRpcService, blob_server: Address) -> OnLeadership {
    let rpc = rpc.clone();
    let (_, resource_manager) = Component::addresses(&rpc);
    Arc::new(move |leader| {
        let leaders = leader.map(|(session, dispatcher)| Leaders {
            dispatcher: Some((dispatcher, session)),
            resource_manager: Some((resource_manager.clone(), ResourceManagerId(session.0))),
            blob_server: Some(blob_server.clone()),
        });
        rpc.publish_leaders(leaders.unwrap_or_default());
    })
}

impl RunningCluster {
    /// `host:port` under which others reach it.
    pub fn address(&self) -> &str {
        self.rpc.advertised()
    }

    /// With the port that it got.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Where jobs are submitted.
    pub fn dispatcher(&self) -> Arc<dyn DispatcherGateway> {
        self.component.dispatcher()
    }

    /// Until a signal, or the end of the application; then ends in order. A
    /// session's application never ends.
    ///
    /// # Errors
    /// A role that ended by itself, or the application's failure; the process
    /// is to end with it.
    pub async fn run(
        mut self,
        signals: &mut Signals,
        application: impl Future<Output = Result<ApplicationStatus, Failure>>,
    ) -> Result<End, Failure> {
        let shut_down_requested = self.component.shut_down_requested();
        let end = tokio::select! {
            signal = signals.next() => {
                info!("RECEIVED SIGNAL {}, shutting down", signal.name());
                Ok(End::Signal(signal))
            }
            failure = self.component.failed() => Err(failure),
            failure = self.server.failed() => Err(failure),
            status = application => status.map(End::Application),
            () = shut_down_requested.cancelled() => {
                info!("a client asked for the end of the cluster");
                Ok(End::Application(ApplicationStatus::Succeeded))
            }
        };
        match &end {
            Err(failure) => error!(code = %failure.code, "fatal error: {failure}"),
            Ok(End::Application(status)) => info!(?status, "the application has ended, shutting down"),
            Ok(End::Signal(_)) => {}
        }
        tokio::select! {
            () = self.shut_down() => {}
            signal = signals.next() => info!("RECEIVED SIGNAL {} again, ending at once", signal.name()),
        }
        end
    }

    /// Jobs are suspended, roles end, then the services that they used.
    pub async fn shut_down(mut self) {
        self.component.shut_down().await;
        self.server.shut_down().await;
        self.folders.remove();
        info!("JobManager stopped");
    }
}
