//! Finds who leads: at the JobManager's address, or where the high-availability
//! folder says that it is. For TaskExecutors and clients.

use crate::HighAvailability;
use heddle_ha::files::{FileLeaderRetrieval, LeaderInformation};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_rpc::Address;
use heddle_rpc::grpc::{GrpcClient, LeaderRetrieval, Leaders};
use std::time::Duration;
use tokio::time::Instant;
use tracing::info;

/// Tells of leaders, one after the other.
pub struct LeaderRetriever {
    client: GrpcClient,
    /// Asks the JobManager that is thought to lead; none until one is known.
    asking: Option<LeaderRetrieval>,
    file: Option<FileLeader>,
}

struct FileLeader {
    retrieval: FileLeaderRetrieval,
    current: Option<LeaderInformation>,
}

impl FileLeader {
    /// Only the leader of the session that the folder names is believed.
    fn confirms(&self, leaders: &Leaders) -> bool {
        let told = leaders.dispatcher.as_ref().map(|(_, session)| *session);
        self.current.as_ref().is_some_and(|current| Some(current.session) == told)
    }
}

impl LeaderRetriever {
    /// # Errors
    /// H3401: the folder's name.
    pub fn new(ha: &HighAvailability, client: GrpcClient) -> Result<Self, Failure> {
        let asking = match ha {
            HighAvailability::Standalone { job_manager } => Some(client.leader_retrieval(job_manager)),
            HighAvailability::Files(_) => None,
        };
        let file = ha.leader_file()?.map(|retrieval| FileLeader { retrieval, current: None });
        Ok(Self { client, asking, file })
    }

    /// The first that lead.
    ///
    /// # Errors
    /// H3307: none within `patience`. H3301 and H3302 at once: another version,
    /// another cluster.
    pub async fn first(&mut self, patience: Duration) -> Result<Leaders, Failure> {
        let Some(file) = &mut self.file else {
            match &mut self.asking {
                Some(asking) => return asking.first(patience).await,
                None => return Err(crate::internal("nobody is asked who leads")),
            }
        };
        let until = Instant::now() + patience;
        let Ok(mut leader) = tokio::time::timeout_at(until, file.retrieval.next()).await else {
            return Err(nobody_leads(patience));
        };
        loop {
            let authority = authority(&leader)?;
            info!(
                job_manager = authority,
                epoch = leader.epoch,
                "the high-availability folder names a leader"
            );
            let mut asking = self.client.leader_retrieval(authority);
            file.current = Some(leader);
            tokio::select! {
                // The folder may name another before this one answers.
                other = file.retrieval.next() => leader = other,
                answer = asking.first(until.saturating_duration_since(Instant::now())) => {
                    let leaders = answer?;
                    if file.confirms(&leaders) {
                        self.asking = Some(asking);
                        return Ok(leaders);
                    }
                    // It is not the one that the folder means.
                    let next = tokio::time::timeout_at(until, file.retrieval.next()).await;
                    leader = next.map_err(|_| nobody_leads(patience))?;
                }
            }
        }
    }

    /// The leaders, once they are others than those told before. Cancel-safe.
    pub async fn next(&mut self) -> Leaders {
        loop {
            let Some(file) = &mut self.file else {
                match &mut self.asking {
                    Some(asking) => return asking.next().await,
                    None => return std::future::pending().await,
                }
            };
            let asked = async {
                match &mut self.asking {
                    Some(asking) => asking.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                leader = file.retrieval.next() => {
                    if let Ok(authority) = authority(&leader) {
                        info!(job_manager = authority, epoch = leader.epoch, "another leader is named");
                        self.asking = Some(self.client.leader_retrieval(authority));
                        file.current = Some(leader);
                    }
                }
                leaders = asked => {
                    if file.confirms(&leaders) {
                        return leaders;
                    }
                    return Leaders::default();
                }
            }
        }
    }
}

/// `host:port` of the process that leads.
///
/// # Errors
/// H3401: what the folder names is no address.
fn authority(leader: &LeaderInformation) -> Result<String, Failure> {
    let address = Address(leader.address.clone().unwrap_or_default());
    address.authority().map(str::to_owned).ok_or_else(|| {
        let message = format!("the leader's address in the high-availability folder is `{address}`");
        Failure::new(ErrorCode::HighAvailability, message)
    })
}

/// The same, as soon as the folder names one.
///
/// # Errors
/// H3307: it names none within `patience`.
pub(crate) async fn first_authority(ha: &HighAvailability, patience: Duration) -> Result<String, Failure> {
    match (ha, ha.leader_file()?) {
        (HighAvailability::Standalone { job_manager }, _) => Ok(job_manager.clone()),
        (HighAvailability::Files(_), None) => Err(nobody_leads(patience)),
        (HighAvailability::Files(_), Some(mut retrieval)) => {
            let leader = tokio::time::timeout(patience, retrieval.next()).await;
            authority(&leader.map_err(|_| nobody_leads(patience))?)
        }
    }
}

fn nobody_leads(patience: Duration) -> Failure {
    let message = format!(
        "the high-availability folder named no JobManager that leads within {patience:?}; check that one runs, \
         and that `high-availability.storageDir` and `high-availability.cluster-id` are the same for it"
    );
    Failure::new(ErrorCode::Unreachable, message)
}
