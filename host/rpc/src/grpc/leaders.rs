//! Who leads in a cluster, as a JobManager tells it and others hear it.

use super::{proto, wire};
use crate::{Address, Result};
use bytes::Bytes;
use heddle_model::id::{DispatcherId, ResourceManagerId};

/// The leaders of a cluster, each with the token of its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaders {
    pub dispatcher: Option<(Address, DispatcherId)>,
    pub resource_manager: Option<(Address, ResourceManagerId)>,
    /// Where the blobs of the cluster's jobs are.
    pub blob_server: Option<Address>,
}

impl From<Leaders> for proto::Leaders {
    fn from(leaders: Leaders) -> Self {
        let leader = |(address, token): (Address, Bytes)| proto::Leader { address: address.0, token };
        Self {
            dispatcher: leaders.dispatcher.map(|(address, token)| leader((address, wire::id(token.0)))),
            resource_manager: leaders
                .resource_manager
                .map(|(address, token)| leader((address, wire::id(token.0)))),
            blob_server: leaders.blob_server.map(|address| address.0),
        }
    }
}

impl TryFrom<proto::Leaders> for Leaders {
    type Error = crate::Error;
    fn try_from(leaders: proto::Leaders) -> Result<Self> {
        let leader = |leader: proto::Leader| {
            let token = wire::bits(&leader.token, "a leader's token")?;
            Ok::<_, crate::Error>((Address(leader.address), token))
        };
        let dispatcher = leaders.dispatcher.map(leader).transpose()?;
        let resource_manager = leaders.resource_manager.map(leader).transpose()?;
        Ok(Self {
            dispatcher: dispatcher.map(|(address, token)| (address, DispatcherId(token))),
            resource_manager: resource_manager.map(|(address, token)| (address, ResourceManagerId(token))),
            blob_server: leaders.blob_server.map(Address),
        })
    }
}
