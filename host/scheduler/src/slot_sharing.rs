//! Which subtasks share a slot: one slot runs one subtask of each vertex of its
//! slot sharing group, those with the same number. A co-location group, which
//! lies within a slot sharing group, asks for no more.
//!
//! Holds what the scheduler knows of each such slot; decides nothing.

use crate::execution_graph::{AssignedSlot, ExecutionGraph, RegionIndex, SubtaskIndex};
use heddle_model::id::SlotRequestId;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SharedSlotIndex(usize);

#[derive(Debug)]
pub(crate) struct SharedSlot {
    pub members: Vec<SubtaskIndex>,
    /// The regions of its members, each once.
    pub regions: Vec<RegionIndex>,
    request: Option<SlotRequestId>,
    assigned: Option<AssignedSlot>,
}

impl SharedSlot {
    pub fn assigned(&self) -> Option<&AssignedSlot> {
        self.assigned.as_ref()
    }

    pub fn request(&self) -> Option<SlotRequestId> {
        self.request
    }
}

#[derive(Debug)]
pub(crate) struct SlotSharing {
    slots: Vec<SharedSlot>,
    slot_of: Vec<SharedSlotIndex>,
    slots_of_region: Vec<Vec<SharedSlotIndex>>,
    /// How many slots each region still misses.
    missing: Vec<usize>,
    by_request: BTreeMap<SlotRequestId, SharedSlotIndex>,
    next_request: u128,
}

impl SlotSharing {
    pub fn new(graph: &ExecutionGraph) -> Self {
        let mut slots: Vec<SharedSlot> = Vec::new();
        let mut slot_of = vec![SharedSlotIndex(0); graph.subtasks().len()];
        let mut slots_of_region = vec![Vec::new(); graph.regions().len()];
        let mut groups: BTreeMap<&str, Vec<SharedSlotIndex>> = BTreeMap::new();
        for vertex in graph.vertices() {
            let group = groups.entry(&vertex.vertex.slot_sharing_group).or_default();
            for (number, subtask) in vertex.subtasks().enumerate() {
                if number == group.len() {
                    group.push(SharedSlotIndex(slots.len()));
                    slots.push(SharedSlot {
                        members: Vec::new(),
                        regions: Vec::new(),
                        request: None,
                        assigned: None,
                    });
                }
                let index = group[number];
                let slot = &mut slots[index.0];
                slot.members.push(subtask);
                slot_of[subtask.0] = index;
                let region = graph.subtask(subtask).region;
                if !slot.regions.contains(&region) {
                    slot.regions.push(region);
                    slots_of_region[region.0].push(index);
                }
            }
        }
        let missing = slots_of_region.iter().map(Vec::len).collect();
        Self { slots, slot_of, slots_of_region, missing, by_request: BTreeMap::new(), next_request: 0 }
    }

    pub fn slot(&self, index: SharedSlotIndex) -> &SharedSlot {
        &self.slots[index.0]
    }

    pub fn slot_of(&self, subtask: SubtaskIndex) -> SharedSlotIndex {
        self.slot_of[subtask.0]
    }

    pub fn slots_of(&self, region: RegionIndex) -> &[SharedSlotIndex] {
        &self.slots_of_region[region.0]
    }

    pub fn by_request(&self, request: SlotRequestId) -> Option<SharedSlotIndex> {
        self.by_request.get(&request).copied()
    }

    /// Requests the slot unless it is there or on its way.
    pub fn request(&mut self, index: SharedSlotIndex) -> Option<SlotRequestId> {
        let slot = &mut self.slots[index.0];
        if slot.request.is_some() {
            return None;
        }
        let request = SlotRequestId(self.next_request);
        self.next_request += 1;
        slot.request = Some(request);
        self.by_request.insert(request, index);
        Some(request)
    }

    pub fn assign(&mut self, index: SharedSlotIndex, assigned: AssignedSlot) {
        let slot = &mut self.slots[index.0];
        if slot.assigned.replace(assigned).is_none() {
            for region in &slot.regions {
                self.missing[region.0] -= 1;
            }
        }
    }

    /// Forgets the slot's request and what served it.
    pub fn clear(&mut self, index: SharedSlotIndex) -> Option<SlotRequestId> {
        let slot = &mut self.slots[index.0];
        if slot.assigned.take().is_some() {
            for region in &slot.regions {
                self.missing[region.0] += 1;
            }
        }
        let request = slot.request.take()?;
        self.by_request.remove(&request);
        Some(request)
    }

    /// Whether all slots of the region are there.
    pub fn complete(&self, region: RegionIndex) -> bool {
        self.missing[region.0] == 0
    }
}
