//! The simulated network: every call between processes takes time, and may be
//! lost, come twice, overtake another, or come long after its sender gave up.
//!
//! Knows no role and no message: it carries closures.

use crate::process::{Process, parse};
use crate::random::Random;
use crate::script::Script;
use crate::signal::Signal;
use heddle_model::failure::{ErrorCode, Failure};
use heddle_rpc::{Address, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;

/// As `rpc.ask.timeout`: how long a caller waits for an answer.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Extra time until a copy of a message arrives.
const COPY_AFTER_MS: std::ops::Range<u64> = 0..8_000;

/// How bad the network is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Longest delay of a message, one way.
    pub delay_ms_max: u64,
    /// Messages of a thousand that are lost, or come twice.
    pub lost: u32,
    pub doubled: u32,
}

impl Weather {
    pub const FAIR: Weather = Weather { delay_ms_max: 4, lost: 0, doubled: 0 };
}

struct State {
    random: Random,
    weather: Weather,
    /// Links on which nothing travels, one way.
    cut: BTreeSet<(String, String)>,
    processes: BTreeMap<String, Arc<Process>>,
}

pub struct Network {
    state: Mutex<State>,
    /// Changes whenever a link comes back.
    mended: Signal<u64>,
    pub script: Arc<Script>,
}

/// What becomes of one message.
struct Fate {
    after: Duration,
    /// Never arrives.
    lost: bool,
    copy_after: Option<Duration>,
}

impl Network {
    pub fn new(random: Random, script: Arc<Script>) -> Arc<Self> {
        let (weather, cut, processes) = (Weather::FAIR, BTreeSet::new(), BTreeMap::new());
        let state = Mutex::new(State { random, weather, cut, processes });
        Arc::new(Self { state, mended: Signal::new(0), script })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while it holds the network")
    }

    pub fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// One direction of a link.
    pub fn cut(&self, from: &str, to: &str) {
        self.state().cut.insert((from.to_owned(), to.to_owned()));
    }

    pub fn mend(&self, from: &str, to: &str) {
        self.state().cut.remove(&(from.to_owned(), to.to_owned()));
        self.mended.happen();
    }

    pub fn mend_all(&self) {
        self.state().cut.clear();
        self.mended.happen();
    }

    pub fn is_cut(&self, from: &str, to: &str) -> bool {
        self.state().cut.contains(&(from.to_owned(), to.to_owned()))
    }

    /// The process that has the host's address from now on.
    pub fn start(&self, process: &Arc<Process>) {
        self.state().processes.insert(process.host.clone(), Arc::clone(process));
    }

    fn process(&self, host: &str) -> Option<Arc<Process>> {
        self.state().processes.get(host).filter(|process| !process.is_dead()).cloned()
    }

    pub fn remote(self: &Arc<Self>, from: &Arc<Process>, to: &Address) -> Remote {
        Remote { network: Arc::clone(self), from: Arc::clone(from), to: to.clone() }
    }

    fn fate(&self, once: bool) -> Fate {
        let state = &mut *self.state();
        let weather = &state.weather;
        let slow = state.random.permille(100);
        let most = if slow { weather.delay_ms_max * 4 } else { weather.delay_ms_max };
        let after = state.random.millis(0..most + 1);
        let lost = state.random.permille(weather.lost);
        let copy = state.random.permille(weather.doubled) && !once;
        let copy_after = copy.then(|| state.random.millis(COPY_AFTER_MS));
        Fate { after, lost, copy_after }
    }

    /// Carries something over a link; false if it never arrives. What meets a
    /// link that is cut is lost, or comes when the link is there again: its
    /// connection may survive.
    async fn carry(&self, from: &str, to: &str, fate: &Fate) -> bool {
        tokio::time::sleep(fate.after).await;
        if fate.lost {
            return false;
        }
        if !self.is_cut(from, to) {
            return true;
        }
        if self.state().random.permille(500) {
            return false;
        }
        self.mended.wait_for(|_| !self.is_cut(from, to)).await;
        true
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// Hands a message to the role at an endpoint, if there is one.
type Deliver<T> = dyn Fn(&Process, &str) -> Option<Answer<T>> + Send + Sync;

/// A role of another process.
pub struct Remote {
    network: Arc<Network>,
    from: Arc<Process>,
    to: Address,
}

impl Remote {
    fn unreachable<T>(&self) -> Result<T> {
        Err(Error::Unreachable { address: self.to.clone() })
    }

    /// Calls it: `deliver` is run at the receiver, whenever and as often as the
    /// network pleases; `once`: it is never doubled.
    pub async fn call<T: Send + 'static>(
        &self,
        name: &'static str,
        once: bool,
        deliver: impl Fn(&Process, &str) -> Option<Answer<T>> + Send + Sync + 'static,
    ) -> Result<T> {
        self.from.thawed().await;
        let Some((host, endpoint)) = parse(&self.to) else { return self.unreachable() };
        let cut = self.network.is_cut(&self.from.host, host);
        // A connection ends at the process that it began with.
        let Some(process) = self.network.process(host) else {
            // Nothing says that nobody is there if nothing comes back.
            if cut {
                tokio::time::sleep(ASK_TIMEOUT).await;
            }
            return self.unreachable();
        };
        self.network.script.message(|| format!("{} → {host}: {name}", self.from.host));
        let (there, back) = (self.network.fate(once), self.network.fate(true));
        let delivery = Delivery {
            network: Arc::clone(&self.network),
            from: Arc::clone(&self.from),
            to: process,
            endpoint: endpoint.to_owned(),
            address: self.to.clone(),
            name,
        };
        let (reply, answer) = oneshot::channel();
        tokio::spawn(delivery.run(there, back, Arc::new(deliver), reply));
        let answered = tokio::select! {
            biased;
            answered = answer => answered.ok(),
            () = tokio::time::sleep(ASK_TIMEOUT) => None,
        };
        let answered = match answered {
            Some(answered) => answered,
            None => {
                let message = format!("no answer to `{name}` from {} within {ASK_TIMEOUT:?}", self.to);
                Err(Failure::new(ErrorCode::NoAnswer, message).into())
            }
        };
        self.from.thawed().await;
        answered
    }
}

/// A message on its way: its sender may be gone.
struct Delivery {
    network: Arc<Network>,
    from: Arc<Process>,
    to: Arc<Process>,
    endpoint: String,
    address: Address,
    name: &'static str,
}

impl Delivery {
    async fn run<T: Send + 'static>(
        self,
        there: Fate,
        back: Fate,
        deliver: Arc<Deliver<T>>,
        reply: oneshot::Sender<Result<T>>,
    ) {
        if !self.network.carry(&self.from.host, &self.to.host, &there).await {
            self.network.script.message(|| format!("{} to {} is lost", self.name, self.to.host));
            // Held: the sender hears nothing at all.
            return self.silence(reply).await;
        }
        let answer = self.deliver(&*deliver).await;
        if let Some(after) = there.copy_after {
            let (again, deliver) = (self.again(), Arc::clone(&deliver));
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                again.network.script.message(|| format!("{} to {} comes again", again.name, again.to.host));
                let _ = again.deliver(&*deliver).await;
            });
        }
        self.to.thawed().await;
        if !self.network.carry(&self.to.host, &self.from.host, &back).await {
            self.network.script.message(|| format!("answer to {} of {} is lost", self.name, self.from.host));
            return self.silence(reply).await;
        }
        // The caller may have given up.
        let _ = reply.send(answer);
    }

    /// Keeps the call open for as long as a caller waits.
    async fn silence<T>(&self, mut reply: oneshot::Sender<Result<T>>) {
        tokio::select! {
            () = reply.closed() => {}
            () = tokio::time::sleep(ASK_TIMEOUT * 2) => {}
        }
    }

    fn again(&self) -> Self {
        Self {
            network: Arc::clone(&self.network),
            from: Arc::clone(&self.from),
            to: Arc::clone(&self.to),
            endpoint: self.endpoint.clone(),
            address: self.address.clone(),
            name: self.name,
        }
    }

    async fn deliver<T>(&self, deliver: &Deliver<T>) -> Result<T> {
        let unreachable = || Err(Error::Unreachable { address: self.address.clone() });
        self.to.thawed().await;
        if self.to.is_dead() {
            return unreachable();
        }
        let Some(answer) = deliver(&self.to, &self.endpoint) else { return unreachable() };
        tokio::select! {
            biased;
            () = self.to.died() => unreachable(),
            answer = answer => answer,
        }
    }
}
