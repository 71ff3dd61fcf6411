//! What is done to a cluster: drawn from the seed before the run begins, and
//! written to the script when it happens.

use crate::cluster::Cluster;
use crate::network::Weather;
use crate::process::Condition;
use crate::random::Random;
use std::sync::Arc;
use std::time::Duration;

/// How long a frozen leader keeps its leadership.
const LEASE: Duration = Duration::from_secs(25);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process is killed and comes back after a while, a TaskExecutor maybe
    /// under the same name.
    Kill {
        host: String,
        back_after: Duration,
        again: bool,
    },
    /// It stands still for a while and goes on.
    Freeze {
        host: String,
        time: Duration,
    },
    /// Nothing gets through between two hosts for a while; `both`: in neither
    /// direction.
    Cut {
        from: String,
        to: String,
        both: bool,
        time: Duration,
    },
    /// A host hears and is heard by nobody.
    Isolate {
        host: String,
        time: Duration,
    },
    /// The whole network is bad for a while.
    Storm {
        weather: Weather,
        time: Duration,
    },
    /// Another host leads; the former leader hears of it later.
    Depose {
        told_after: Duration,
    },
    /// `again`: the next one comes up at the same address.
    KillLeader {
        next_after: Duration,
        again: bool,
    },
    FreezeLeader {
        time: Duration,
        told_after: Duration,
    },
}

/// The faults of a run, each with its time.
pub fn plan(cluster: &Cluster, random: &mut Random, during: Duration) -> Vec<(Duration, Fault)> {
    let (hosts, workers) = (cluster.hosts(), cluster.task_executors());
    let count = random.number(1..12);
    let mut plan: Vec<(Duration, Fault)> = (0..count)
        .map(|_| (random.millis(0..during.as_millis() as u64), one(&hosts, &workers, random)))
        .collect();
    plan.sort_by_key(|(at, _)| *at);
    plan
}

fn one(hosts: &[String], workers: &[String], random: &mut Random) -> Fault {
    let host = |random: &mut Random| random.pick(hosts).cloned().unwrap_or_default();
    let worker = |random: &mut Random| random.pick(workers).cloned().unwrap_or_default();
    // Some shorter, some longer than the time-outs.
    let time = |random: &mut Random| {
        if random.permille(500) { random.seconds(1..30) } else { random.seconds(40..150) }
    };
    match random.below(14) {
        0 | 1 => Fault::Kill {
            host: worker(random),
            back_after: random.seconds(1..60),
            again: random.permille(500),
        },
        2 | 3 => Fault::Freeze { host: worker(random), time: time(random) },
        4 | 5 => Fault::Cut {
            from: host(random),
            to: host(random),
            both: random.permille(500),
            time: time(random),
        },
        6 => Fault::Isolate { host: host(random), time: time(random) },
        7 | 8 => {
            let delay_ms_max = *random.pick(&[10, 500, 4_000, 9_000]).unwrap_or(&10);
            let weather =
                Weather { delay_ms_max, lost: random.number(0..150), doubled: random.number(0..150) };
            Fault::Storm { weather, time: random.seconds(10..120) }
        }
        9 => Fault::Depose { told_after: random.seconds(0..30) },
        10..13 => {
            let soon = random.permille(500);
            let next_after = if soon { random.seconds(0..4) } else { random.seconds(4..40) };
            Fault::KillLeader { next_after, again: random.permille(700) }
        }
        _ => Fault::FreezeLeader { time: random.seconds(1..90), told_after: random.seconds(0..10) },
    }
}

impl Fault {
    /// Does it, and undoes it after its time.
    pub async fn strike(self, cluster: Arc<Cluster>) {
        cluster.script.note(format_args!("FAULT {self:?}"));
        match self {
            Fault::Kill { host, back_after, again } => {
                cluster.kill(&host);
                tokio::time::sleep(back_after).await;
                cluster.start_task_executor(&host, again);
            }
            Fault::Freeze { host, time } => freeze(&cluster, &host, time).await,
            Fault::Cut { from, to, both, time } => {
                if from == to {
                    return;
                }
                cluster.network.cut(&from, &to);
                if both {
                    cluster.network.cut(&to, &from);
                }
                tokio::time::sleep(time).await;
                cluster.script.note(format_args!("{from} and {to} are connected again"));
                cluster.network.mend(&from, &to);
                cluster.network.mend(&to, &from);
            }
            Fault::Isolate { host, time } => {
                let others: Vec<String> =
                    cluster.hosts().into_iter().filter(|other| *other != host).collect();
                for other in &others {
                    cluster.network.cut(&host, other);
                    cluster.network.cut(other, &host);
                }
                tokio::time::sleep(time).await;
                cluster.script.note(format_args!("{host} is connected again"));
                for other in &others {
                    cluster.network.mend(&host, other);
                    cluster.network.mend(other, &host);
                }
            }
            Fault::Storm { weather, time } => {
                cluster.network.set_weather(weather);
                tokio::time::sleep(time).await;
                cluster.script.note("the storm is over");
                cluster.network.set_weather(Weather::FAIR);
            }
            Fault::Depose { told_after } => depose(&cluster, told_after).await,
            Fault::KillLeader { next_after, again } => {
                let Some(leader) = cluster.leader() else { return };
                cluster.kill(&leader.host);
                tokio::time::sleep(next_after).await;
                if !again {
                    elect_after(&cluster, &leader);
                } else if cluster.leader().as_ref() == Some(&leader) {
                    cluster.elect(&leader.host);
                }
            }
            Fault::FreezeLeader { time, told_after } => {
                let Some(leader) = cluster.leader() else { return };
                let Some(process) = cluster.freeze(&leader.host) else { return };
                tokio::time::sleep(time.min(LEASE)).await;
                if time > LEASE {
                    elect_after(&cluster, &leader);
                    tokio::time::sleep(time - LEASE).await;
                }
                thaw(&cluster, &process);
                if time > LEASE {
                    tokio::time::sleep(told_after).await;
                    revoke(&cluster, &leader);
                }
            }
        }
    }
}

async fn freeze(cluster: &Arc<Cluster>, host: &str, time: Duration) {
    let Some(process) = cluster.freeze(host) else { return };
    tokio::time::sleep(time).await;
    thaw(cluster, &process);
}

fn thaw(cluster: &Cluster, process: &crate::process::Process) {
    if process.condition() == Condition::Frozen {
        cluster.script.note(format_args!("{} goes on", process.host));
        process.set(Condition::Running);
    }
}

async fn depose(cluster: &Arc<Cluster>, told_after: Duration) {
    let Some(leader) = cluster.leader() else { return };
    if elect_after(cluster, &leader) {
        tokio::time::sleep(told_after).await;
        revoke(cluster, &leader);
    }
}

/// Elects a host other than the former leader's, unless somebody else was
/// elected since.
fn elect_after(cluster: &Arc<Cluster>, former: &crate::cluster::Leader) -> bool {
    if cluster.leader().as_ref() != Some(former) {
        return false;
    }
    let next = cluster.job_managers().into_iter().find(|host| *host != former.host);
    if let Some(next) = next {
        cluster.elect(&next);
    }
    true
}

/// Tells a former leader, unless it leads again.
fn revoke(cluster: &Cluster, former: &crate::cluster::Leader) {
    if cluster.leader().is_some_and(|leader| leader.host != former.host) {
        cluster.revoke(&former.host);
    }
}

/// The network is good again, and every process runs.
pub fn heal(cluster: &Arc<Cluster>) {
    cluster.script.note("everything is mended");
    cluster.network.mend_all();
    cluster.network.set_weather(Weather::FAIR);
    for process in cluster.processes() {
        thaw(cluster, &process);
    }
    for host in cluster.task_executors() {
        cluster.start_task_executor(&host, false);
    }
    let leader = cluster.leader();
    for host in cluster.job_managers() {
        match &leader {
            Some(leader) if leader.host == host => {
                if cluster.processes().iter().all(|process| process.host != host) {
                    cluster.elect(&host);
                }
            }
            _ => cluster.revoke(&host),
        }
    }
}
