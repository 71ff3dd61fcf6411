//! The slot manager against a world of workers that die, messages that come in
//! any order, and answers that are lost. Seeded: a failure names its seed.
//!
//! Invariants: no slot is given away while it is held, no request is lost, and
//! once the world is calm both sides agree.

use heddle_model::id::{AllocationId, InstanceId, JobId, ResourceId, SlotId};
use heddle_model::memory::{ResourceProfile, WorkerResourceSpec};
use heddle_slot_manager::{Action, Event, Options, ReportedSlot, SlotManager, SlotRequest};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const PROFILE: ResourceProfile = ResourceProfile { task_memory: 1, managed_memory: 1, network_memory: 1 };
const SLOTS: u32 = 3;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    /// A TaskExecutor gave a slot to it.
    Served,
    Refused,
    GivenUp,
}

/// A TaskExecutor as it really is.
struct Worker {
    instance: InstanceId,
    slots: Vec<Option<(AllocationId, JobId)>>,
    registered: bool,
}

struct World {
    seed: u64,
    random: Random,
    now: Duration,
    manager: SlotManager,
    workers: BTreeMap<ResourceId, Worker>,
    /// On their way to the slot manager; delivered in any order.
    messages: Vec<Event>,
    /// The driver's, delivered in their order.
    driver: VecDeque<Event>,
    requests: BTreeMap<AllocationId, (JobId, Fate)>,
    /// Slots that the slot manager has reason to believe held or asked for.
    held: BTreeMap<(InstanceId, u32), AllocationId>,
    next_id: u128,
    workers_asked_for: u32,
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        Self {
            seed,
            random: Random(seed),
            now: Duration::ZERO,
            manager: SlotManager::new(options),
            workers: BTreeMap::new(),
            messages: Vec::new(),
            driver: VecDeque::new(),
            requests: BTreeMap::new(),
            held: BTreeMap::new(),
            next_id: 1,
            workers_asked_for: 0,
        }
    }

    fn id(&mut self) -> u128 {
        self.next_id += 1;
        self.next_id
    }

    fn report(worker: &Worker, resource_id: &ResourceId) -> Event {
        let slots = worker
            .slots
            .iter()
            .zip(0..)
            .map(|(held, slot_number)| ReportedSlot { slot_number, profile: PROFILE, allocation: *held })
            .collect();
        Event::Report { instance: worker.instance, resource_id: resource_id.clone(), slots }
    }

    fn random_worker(&mut self) -> Option<ResourceId> {
        let at = self.random.below(self.workers.len());
        self.workers.keys().nth(at).cloned()
    }

    /// Something happens in the world.
    fn act(&mut self) {
        match self.random.below(12) {
            0..=2 => {
                let allocation_id = AllocationId(self.id());
                let job_id = JobId(self.random.below(4) as u128);
                self.requests.insert(allocation_id, (job_id, Fate::Open));
                self.deliver(Event::Request(SlotRequest { allocation_id, job_id, profile: PROFILE }));
            }
            3 => {
                let at = self.random.below(self.requests.len());
                if let Some((allocation_id, (_, fate))) = self.requests.iter_mut().nth(at) {
                    let allocation_id = *allocation_id;
                    if *fate == Fate::Open {
                        *fate = Fate::GivenUp;
                    }
                    self.deliver(Event::Cancel { allocation_id });
                }
            }
            // A worker's job gives a slot back.
            4..=5 => {
                let Some(resource_id) = self.random_worker() else { return };
                let slot_number = self.random.below(SLOTS as usize);
                self.free(&resource_id, slot_number as u32);
            }
            6 => {
                let Some(resource_id) = self.random_worker() else { return };
                let worker = &self.workers[&resource_id];
                if worker.registered {
                    self.messages.push(Self::report(worker, &resource_id));
                }
            }
            // A worker registers anew.
            7 => {
                let Some(resource_id) = self.random_worker() else { return };
                let instance = InstanceId(self.id());
                let worker = self.workers.get_mut(&resource_id).unwrap();
                worker.registered = true;
                worker.instance = instance;
                let report = Self::report(worker, &resource_id);
                self.deliver(report);
            }
            8 if self.random.chance(30) => {
                let Some(resource_id) = self.random_worker() else { return };
                self.end(&resource_id, "killed");
            }
            9 if self.random.chance(30) => {
                let Some(resource_id) = self.random_worker() else { return };
                let instance = self.workers[&resource_id].instance;
                self.deliver(Event::TaskExecutorGone { instance, reason: "silent".into(), release: true });
            }
            10 if self.random.chance(20) => {
                let job_id = JobId(self.random.below(4) as u128);
                for (job, fate) in self.requests.values_mut() {
                    if *job == job_id && *fate == Fate::Open {
                        *fate = Fate::GivenUp;
                    }
                }
                self.deliver(Event::JobGone { job_id });
            }
            _ => {
                self.now += Duration::from_millis(self.random.below(3000) as u64);
                self.deliver(Event::Tick);
            }
        }
        self.start_workers(60);
    }

    fn start_workers(&mut self, percent: u64) {
        while self.workers_asked_for > 0 && self.random.chance(percent) {
            self.workers_asked_for -= 1;
            if percent < 100 && self.random.chance(15) {
                self.driver.push_back(Event::WorkerStartFailed { reason: "no room".into() });
                continue;
            }
            let (name, instance) = (self.id(), self.id());
            let resource_id = ResourceId(format!("w{name:05}"));
            self.driver.push_back(Event::WorkerStarted { resource_id: resource_id.clone() });
            let worker = Worker {
                instance: InstanceId(instance),
                slots: vec![None; SLOTS as usize],
                registered: true,
            };
            self.messages.push(Self::report(&worker, &resource_id));
            self.workers.insert(resource_id, worker);
        }
    }

    fn free(&mut self, resource_id: &ResourceId, slot_number: u32) {
        let Some(worker) = self.workers.get_mut(resource_id) else { return };
        if let Some((allocation_id, _)) = worker.slots[slot_number as usize].take() {
            let slot_id = SlotId { resource_id: resource_id.clone(), slot_number };
            self.messages.push(Event::SlotAvailable { instance: worker.instance, slot_id, allocation_id });
        }
    }

    fn end(&mut self, resource_id: &ResourceId, reason: &str) {
        if self.workers.remove(resource_id).is_some() {
            let resource_id = resource_id.clone();
            self.driver.push_back(Event::WorkerTerminated { resource_id, reason: reason.into() });
        }
    }

    fn deliver_one(&mut self) {
        if !self.driver.is_empty() && (self.messages.is_empty() || self.random.chance(30)) {
            if let Some(event) = self.driver.pop_front() {
                self.deliver(event);
            }
        } else if !self.messages.is_empty() {
            let at = self.random.below(self.messages.len());
            let message = self.messages.swap_remove(at);
            // What a stale registration says never reaches the slot manager.
            let current = |instance: &InstanceId, resource_id: &ResourceId| {
                self.workers.get(resource_id).is_none_or(|worker| worker.instance == *instance)
            };
            if let Event::Report { instance, resource_id, .. } = &message
                && (!current(instance, resource_id) || !self.workers.contains_key(resource_id))
            {
                return;
            }
            self.deliver(message);
        }
    }

    fn deliver(&mut self, event: Event) {
        self.believe(&event);
        let actions = self.manager.step(self.now, event.clone());
        for action in actions {
            self.perform(action, &event);
        }
    }

    /// What the event tells of who holds a slot.
    fn believe(&mut self, event: &Event) {
        let mut release = |instance: &InstanceId, slot_number: u32, allocation_id: &AllocationId| {
            if self.held.get(&(*instance, slot_number)) == Some(allocation_id) {
                self.held.remove(&(*instance, slot_number));
            }
        };
        match event {
            Event::Refused { instance, slot_id, allocation_id, .. }
            | Event::SlotAvailable { instance, slot_id, allocation_id } => {
                release(instance, slot_id.slot_number, allocation_id);
            }
            Event::Report { instance, slots, .. } => {
                for slot in slots {
                    // A free one may have been given away since.
                    self.held.remove(&(*instance, slot.slot_number));
                    if let Some((allocation_id, _)) = slot.allocation {
                        self.held.insert((*instance, slot.slot_number), allocation_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn perform(&mut self, action: Action, cause: &Event) {
        let seed = self.seed;
        match action {
            Action::Assign { instance, slot_id, request } => {
                let key = (instance, slot_id.slot_number);
                let holder = self.held.insert(key, request.allocation_id);
                assert_eq!(holder, None, "seed {seed}: {slot_id} is given away twice, after {cause:?}");
                let (job_id, fate) = self.requests[&request.allocation_id];
                assert_ne!(fate, Fate::Refused, "seed {seed}: a refused request is served");
                assert_eq!(job_id, request.job_id);
                let answer = self.ask(instance, &slot_id, &request);
                self.messages.push(answer);
            }
            Action::StartWorker => self.workers_asked_for += 1,
            Action::ReleaseWorker { resource_id, .. } => self.end(&resource_id, "released"),
            Action::RefuseRequest { allocation_id, .. } => {
                let (_, fate) = self.requests.get_mut(&allocation_id).unwrap();
                assert_ne!(*fate, Fate::Refused, "seed {seed}: refused twice");
                assert_ne!(*fate, Fate::GivenUp, "seed {seed}: refused after it was given up");
                *fate = Fate::Refused;
            }
            Action::WorkerLost { .. } => {}
        }
    }

    /// The TaskExecutor's answer to a request for its slot.
    fn ask(&mut self, instance: InstanceId, slot_id: &SlotId, request: &SlotRequest) -> Event {
        let allocation_id = request.allocation_id;
        let slot_id = slot_id.clone();
        let refused = |reason: &str| Event::Refused {
            instance,
            slot_id: slot_id.clone(),
            allocation_id,
            reason: reason.into(),
        };
        let duplicate =
            self.workers.values().any(|w| w.slots.iter().flatten().any(|(held, _)| *held == allocation_id));
        let Some(worker) = self.workers.get_mut(&slot_id.resource_id) else { return refused("unreachable") };
        if worker.instance != instance {
            return refused("another instance");
        }
        let slot = &mut worker.slots[slot_id.slot_number as usize];
        if slot.is_some() {
            return refused("occupied");
        }
        *slot = Some((allocation_id, request.job_id));
        let (_, fate) = self.requests.get_mut(&allocation_id).unwrap();
        let unwanted = *fate != Fate::Open;
        if *fate == Fate::Open {
            *fate = Fate::Served;
        }
        // The job rejects what it does not want (any more), or has twice.
        if (unwanted && self.random.chance(50)) || duplicate {
            self.free(&slot_id.resource_id, slot_id.slot_number);
        }
        if self.random.chance(5) {
            return refused("the answer was lost");
        }
        Event::Assigned { instance, slot_id, allocation_id }
    }

    /// No more surprises: everything arrives, workers start, all report.
    fn calm_down(&mut self) {
        for _ in 0..200 {
            while !(self.messages.is_empty() && self.driver.is_empty()) {
                self.deliver_one();
            }
            self.start_workers(100);
            let names: Vec<ResourceId> = self.workers.keys().cloned().collect();
            for resource_id in names {
                if let Some(worker) = self.workers.get(&resource_id) {
                    let report = Self::report(worker, &resource_id);
                    self.deliver(report);
                }
            }
            self.now += Duration::from_millis(500);
            self.deliver(Event::Tick);
        }
        assert!(self.messages.is_empty(), "seed {}: it never calms down", self.seed);
    }
}

fn play(seed: u64, options: Options) -> World {
    let mut world = World::new(seed, options);
    for _ in 0..400 {
        world.act();
        for _ in 0..world.random.below(3) {
            world.deliver_one();
        }
    }
    world.calm_down();
    world
}

fn options() -> Options {
    Options::new(WorkerResourceSpec { slots: SLOTS, slot: PROFILE })
}

fn open(world: &World) -> BTreeSet<AllocationId> {
    world.requests.iter().filter(|(_, (_, fate))| *fate == Fate::Open).map(|(id, _)| *id).collect()
}

#[test]
fn without_a_limit_every_request_is_served() {
    for seed in 0..300 {
        // Longer than the play: only shortage could refuse anything.
        let world = play(seed, Options { request_timeout: Duration::from_secs(100_000), ..options() });
        assert_eq!(open(&world), BTreeSet::new(), "seed {seed}: requests are lost");
        assert!(
            world.requests.values().all(|(_, fate)| *fate != Fate::Refused),
            "seed {seed}: a request was refused without a limit"
        );
        let overview = world.manager.overview();
        let free: usize =
            world.workers.values().map(|w| w.slots.iter().filter(|slot| slot.is_none()).count()).sum();
        assert_eq!(overview.waiting_requests, 0, "seed {seed}");
        assert_eq!(overview.task_executors, world.workers.len(), "seed {seed}");
        assert_eq!(overview.free_slots, free, "seed {seed}");
    }
}

#[test]
fn with_a_limit_every_request_is_served_or_refused() {
    for seed in 1000..1300 {
        let options = Options {
            max_slots: Some(7),
            request_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(5),
            ..options()
        };
        let mut world = play(seed, options);
        let started = world.workers.len() + world.manager.overview().coming_workers as usize;
        assert!(started * SLOTS as usize <= 7, "seed {seed}: {started} workers are above the limit");
        world.now += Duration::from_secs(20);
        world.deliver(Event::Tick);
        world.calm_down();
        assert_eq!(open(&world), BTreeSet::new(), "seed {seed}: requests are lost");
        assert_eq!(world.manager.overview().waiting_requests, 0, "seed {seed}");
    }
}

#[test]
fn the_deadline_is_never_in_the_past() {
    for seed in 2000..2100 {
        let options = Options { max_slots: Some(7), request_timeout: Duration::from_secs(20), ..options() };
        let mut world = World::new(seed, options);
        for _ in 0..300 {
            world.act();
            world.deliver_one();
            world.deliver(Event::Tick);
            if let Some(deadline) = world.manager.next_deadline() {
                assert!(deadline > world.now, "seed {seed}: {deadline:?} at {:?}", world.now);
            }
        }
    }
}
