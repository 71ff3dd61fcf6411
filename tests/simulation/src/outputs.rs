//! Connectors that only pretend, and check what comes to them: what is
//! published has each split exactly once.

use crate::world::World;
use heddle_connectors::Published;
use heddle_job_master::Outputs;
use heddle_model::failure::Failure;
use heddle_model::id::JobId;
use heddle_model::plan::ConnectorSpec;
use heddle_model::task::{Committable, InputSplit};
use std::collections::BTreeMap;
use std::sync::Arc;

pub struct SimulatedOutputs {
    pub world: Arc<World>,
    pub job_id: JobId,
}

impl Outputs for SimulatedOutputs {
    fn may_block(&self) -> bool {
        false
    }

    fn enumerate_splits(&self, _: &ConnectorSpec, _: u32) -> Result<Vec<InputSplit>, Failure> {
        let splits = self.world.jobs[&self.job_id].splits;
        Ok((0..splits).map(|index| InputSplit { index, content: Vec::new() }).collect())
    }

    fn prepare_sink(&self, _: &ConnectorSpec, _: JobId) -> Result<(), Failure> {
        Ok(())
    }

    fn publish_sink(
        &self,
        _: &ConnectorSpec,
        job: JobId,
        committables: &[Committable],
    ) -> Result<Published, Failure> {
        let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
        for committable in committables {
            for split in committable.content.chunks_exact(4) {
                let split = split.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
                *seen.entry(split).or_default() += 1;
            }
        }
        let wrong = |split: &u32| seen.get(split).copied().unwrap_or(0) != 1;
        let wrong: Vec<u32> = (0..self.world.jobs[&job].splits).filter(wrong).collect();
        if !wrong.is_empty() {
            self.world.violation(format!("job-{} publishes splits {wrong:?} not exactly once", job.0));
        }
        self.world.state().published.insert(job);
        Ok(Published { collected: None })
    }

    fn discard_sink(&self, _: &ConnectorSpec, _: JobId) -> Result<(), Failure> {
        Ok(())
    }
}
