//! Where the JobManagers of a cluster may be, and who of them leads.

use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_rpc::Address;
use heddle_rpc::grpc::GrpcClient;
use std::time::Duration;
use tokio::time::Instant;

/// How long one of several ports is tried before the next one.
const ONE_OF_SEVERAL: Duration = Duration::from_secs(1);

/// Most ports that are tried: a range names where a JobManager listened, and
/// nobody waits for thousands.
const PORTS_MAX: usize = 100;

/// `host:port`, of which one has the JobManager.
#[derive(Clone, Debug)]
pub(crate) struct JobManagers(Vec<String>);

impl JobManagers {
    /// # Errors
    /// H1201: no port at which somebody can be found.
    pub(crate) fn of(configuration: &Configuration) -> Result<Self, Failure> {
        let host = configuration.get(&o::JOB_MANAGER_RPC_ADDRESS);
        let ports = configuration.get(&o::JOB_MANAGER_RPC_PORT);
        let authority = |port: u16| match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let all: Vec<String> =
            ports.ports().filter(|port| *port != 0).take(PORTS_MAX).map(authority).collect();
        if all.is_empty() {
            let message = format!(
                "`{}` is {ports} (from {}), which does not tell where the JobManager is; give -m HOST:PORT",
                o::JOB_MANAGER_RPC_PORT.key(),
                configuration.origin(&o::JOB_MANAGER_RPC_PORT),
            );
            return Err(Failure::new(ErrorCode::ConfigurationInvalid, message));
        }
        Ok(Self(all))
    }

    /// The address of the dispatcher that leads.
    ///
    /// # Errors
    /// H3307 if nobody says so within the patience; H3301 and the like at once.
    pub(crate) async fn leader(&self, rpc: &GrpcClient, patience: Duration) -> Result<Address, Failure> {
        let began = Instant::now();
        let mut turn = self.0.iter().cycle();
        loop {
            let Some(authority) = turn.next() else { return Err(crate::internal("no JobManager is named")) };
            let left = patience.saturating_sub(began.elapsed());
            let slice = if self.0.len() > 1 { left.min(ONE_OF_SEVERAL) } else { left };
            match rpc.leader_retrieval(authority).first(slice).await {
                Ok(leaders) => match leaders.dispatcher {
                    Some((address, _)) => return Ok(address),
                    None => continue,
                },
                Err(failure) if failure.code != ErrorCode::Unreachable => return Err(failure),
                Err(failure) if began.elapsed() >= patience => return Err(failure),
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_model::config::Origin;

    #[test]
    fn places_are_those_of_the_configuration() {
        let places = |host: &str, ports: &str| {
            let mut configuration = Configuration::new();
            for (key, value) in [("jobmanager.rpc.address", host), ("jobmanager.rpc.port", ports)] {
                configuration.set(key, value, Origin::DynamicProperty).unwrap();
            }
            JobManagers::of(&configuration).map(|places| places.0).map_err(|failure| failure.message)
        };
        assert_eq!(places("a.b", "6123"), Ok(vec!["a.b:6123".to_owned()]));
        assert_eq!(places("::1", "7"), Ok(vec!["[::1]:7".to_owned()]));
        assert_eq!(places("[::1]", "7"), Ok(vec!["[::1]:7".to_owned()]));
        assert_eq!(places("a", "7-8,9"), Ok(["a:7", "a:8", "a:9"].map(str::to_owned).to_vec()));
        assert_eq!(places("a", "1-65535").unwrap().len(), PORTS_MAX);
        assert_eq!(
            places("a", "0").unwrap_err(),
            "`jobmanager.rpc.port` is 0 (from -D), which does not tell where the JobManager is; give -m \
             HOST:PORT"
        );
    }
}
