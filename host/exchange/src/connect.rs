//! How a gate comes about: each of its channels is found here or requested
//! from another process, and all must be there before the first is read.

use crate::error::Error;
use crate::gate::{Channel, InputGate, ReadyList};
use crate::manager::PartitionManager;
use crate::memory::Reservation;
use crate::network::{self, Connection, Progress, RemoteChannel, Wanted};
use crate::wire::Window;
use heddle_model::id::ResourceId;
use heddle_model::task::{DataAddress, InputChannelDescriptor, InputGateDescriptor};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a gate sets aside for channels of other processes. A channel of its
/// own process has its memory at the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateBuffers {
    /// `taskmanager.network.memory.buffers-per-channel`.
    pub per_channel: u32,
    /// `taskmanager.network.memory.floating-buffers-per-gate`: shared out among
    /// the channels, so that a gate with few of them need not wait for credit.
    pub floating: u32,
    /// Bytes of a buffer.
    pub batch_size: u32,
}

/// A window is for this many batches for each buffer in it; what they hold
/// together is bounded by its bytes. With one batch for a buffer a channel
/// carries 50,000 small batches a second, with eight more than 400,000.
const BATCHES_PER_BUFFER: u32 = 8;

/// The channels of a gate whose producers are in other processes, by their
/// place in the gate.
#[derive(Default)]
struct Remote {
    channels: BTreeMap<usize, RemoteChannel>,
    progress: Arc<Progress>,
    memory: Option<Reservation>,
}

/// A channel to request.
struct Request<'a> {
    index: usize,
    channel: &'a InputChannelDescriptor,
    address: &'a DataAddress,
}

impl PartitionManager {
    /// Connects a gate to all of its channels, as soon as all producers have
    /// registered, here or in other processes. Cancel-safe.
    ///
    /// # Errors
    /// H3004 when the memory of the buffers exceeds what is left.
    pub async fn connect(
        &self,
        gate: &InputGateDescriptor,
        buffers: GateBuffers,
        timeout: Duration,
    ) -> Result<InputGate, Error> {
        let began = Instant::now();
        let deadline = tokio::time::Instant::now() + timeout;
        let ready = Arc::<ReadyList>::default();
        let mut remote = self.request(gate, buffers, &ready).await?;
        let local = gate.channels.iter().enumerate();
        let local = local.filter(|(index, _)| !remote.channels.contains_key(index));
        let local: Vec<&InputChannelDescriptor> = local.map(|(_, channel)| channel).collect();
        let found = self.await_all(&local, deadline).await?;
        // Passed or not: what there is says more.
        let _ = tokio::time::timeout_at(deadline, remote.progress.wait()).await;
        if let Some(error) = remote.channels.values().find_map(RemoteChannel::fault) {
            return Err(error);
        }
        let mut missing = remote.channels.values().filter(|channel| !channel.is_accepted());
        if let Some(first) = missing.next() {
            let (partition, missing) = (first.partition(), 1 + missing.count());
            return Err(Error::NotRegistered { partition, missing, waited: began.elapsed() });
        }
        let mut found = found.into_iter();
        let channels = (0..gate.channels.len()).filter_map(|index| match remote.channels.remove(&index) {
            Some(channel) => Some(Channel::Remote(channel)),
            None => found.next().map(|(partition, subpartition)| Channel::Local(partition, subpartition)),
        });
        InputGate::attach(channels.collect(), ready, remote.memory)
    }

    /// Requests what is in other processes.
    async fn request(
        &self,
        gate: &InputGateDescriptor,
        buffers: GateBuffers,
        ready: &Arc<ReadyList>,
    ) -> Result<Remote, Error> {
        let mut remote = Remote::default();
        let own = self.network().map(network::Handle::own_address);
        let channels = gate.channels.iter().enumerate();
        let requests: Vec<Request<'_>> = channels
            .filter_map(|(index, channel)| {
                let address = gate.data_addresses.get(&channel.producer)?;
                (own != Some(address)).then_some(Request { index, channel, address })
            })
            .collect();
        let Some(first) = requests.first() else { return Ok(remote) };
        let no_network = || Error::NoNetwork { partition: first.channel.partition };
        let network = self.network().ok_or_else(no_network)?;
        let count = requests.len() as u32;
        let per_channel = buffers.per_channel.max(1).saturating_add(buffers.floating / count);
        let memory = self.set_aside(count, per_channel, buffers.batch_size);
        remote.memory = Some(memory.map_err(|failure| Error::Memory(Arc::new(failure)))?);
        let window = Window {
            batches: per_channel.saturating_mul(BATCHES_PER_BUFFER),
            bytes: u64::from(per_channel) * u64::from(buffers.batch_size),
        };

        // All at once: some may have to wait until their peer is up.
        let mut asked = BTreeMap::new();
        for Request { channel, address, .. } in &requests {
            if !asked.contains_key(&channel.producer) {
                let answer = network.ask(address, &channel.producer).await.ok_or_else(no_network)?;
                asked.insert(&channel.producer, answer);
            }
        }
        let mut connections: BTreeMap<&ResourceId, Arc<Connection>> = BTreeMap::new();
        for (producer, answer) in asked {
            connections.insert(producer, answer.await.map_err(|_| no_network())??);
        }
        for Request { index, channel, address } in requests {
            let wanted = || Wanted {
                partition: channel.partition,
                subpartition: channel.subpartition,
                window,
                ready: Arc::clone(ready),
                index: index as u32,
                progress: Arc::clone(&remote.progress),
            };
            let requested = match connections[&channel.producer].request(wanted(), self.memory()) {
                Ok(requested) => requested,
                // It was closed because nobody used it, just now.
                Err(_) => {
                    let answer = network.ask(address, &channel.producer).await.ok_or_else(no_network)?;
                    let connection = answer.await.map_err(|_| no_network())??;
                    let requested = connection.request(wanted(), self.memory())?;
                    connections.insert(&channel.producer, connection);
                    requested
                }
            };
            remote.channels.insert(index, requested);
        }
        Ok(remote)
    }
}
