//! One fault each.

use crate::world::Yarn;
use heddle_tests::{Run, wait_until};

/// High availability in a folder that both nodes have.
fn available(yarn: &Yarn) -> [String; 2] {
    let storage = yarn.path("ha").display().to_string();
    ["-Dhigh-availability.type=filesystem".to_owned(), format!("-Dhigh-availability.storageDir={storage}")]
}

/// High availability on HDFS.
fn on_hdfs() -> [&'static str; 2] {
    ["-Dhigh-availability.type=filesystem", "-Dhigh-availability.storageDir=hdfs:///heddle-of-tests/ha"]
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[track_caller]
fn succeeded(run: Run) {
    let run = run.expect_success();
    assert!(run.stderr.contains("has finished"), "{}", run.stderr);
}

#[test]
fn a_container_that_is_killed_is_replaced() {
    let Some(yarn) = Yarn::real() else { return };
    succeeded(yarn.totals("yarn-per-job", &[], || yarn.computing()[0].kill()));
    yarn.totals_are_exact();
}

#[test]
fn a_second_attempt_goes_on_with_the_containers_of_the_first() {
    let Some(yarn) = Yarn::real() else { return };
    for target in ["yarn-per-job", "yarn-application"] {
        let _ = std::fs::remove_dir_all(yarn.path("totals"));
        let run = yarn.totals(target, &on_hdfs(), || {
            let workers = yarn.computing();
            let master = yarn.master();
            master.kill();
            wait_until("another JobManager runs", || {
                yarn.containers("jobmanager").iter().any(|other| other.id != master.id)
            });
            let before: Vec<_> = workers.iter().map(|one| (one.clone(), one.computed())).collect();
            wait_until("it has its workers compute", || {
                let now = yarn.containers("taskexecutor");
                now.iter().all(|one| one.computes_on(&before))
            });
            let now = yarn.containers("taskexecutor");
            assert!(now.iter().all(|one| workers.contains(one)), "{now:?} are not of {workers:?}");
        });
        succeeded(run);
        yarn.totals_are_exact();
    }
}

#[test]
fn a_master_of_one_attempt_ends_its_application_when_it_is_killed() {
    let Some(yarn) = Yarn::real() else { return };
    let run = yarn.totals("yarn-per-job", &[], || {
        yarn.computing();
        yarn.master().kill();
    });
    run.expect_error("H3503", &["FAILED", "failed 1 times", "exitCode: 137"]);
    wait_until("its containers end", || yarn.containers("").is_empty());
}

#[test]
fn a_node_that_dies_with_its_containers_is_done_without() {
    let Some(yarn) = Yarn::real() else { return };
    let run = yarn.totals("yarn-per-job", &words(&available(&yarn)), || {
        let node = yarn.computing()[0].node.clone();
        // Nobody brings it back: the other one has room enough.
        drop(yarn.kill(&node));
        for container in yarn.containers("").iter().filter(|one| one.node == node) {
            container.kill();
        }
    });
    succeeded(run);
    yarn.totals_are_exact();
    wait_until("what was stored for the application goes", || {
        std::fs::read_dir(yarn.path("ha")).expect("a folder").count() == 0
    });
}

#[test]
fn a_resource_manager_that_is_started_again_finds_all_as_it_was() {
    let Some(yarn) = Yarn::real() else { return };
    let run = yarn.totals("yarn-per-job", &[], || {
        let workers = yarn.computing();
        let dead = yarn.kill("resourcemanager");
        // What it hears first of the new one are wishes.
        workers[0].kill();
        yarn.start(dead);
        wait_until("the ResourceManager answers", || {
            yarn.rest("GET", "/ws/v1/cluster/info", "").contains("STARTED")
        });
        wait_until("what is missing is replaced", || {
            let now = yarn.containers("taskexecutor");
            now.len() == 2 && !now.contains(&workers[0])
        });
        assert!(yarn.containers("taskexecutor").contains(&workers[1]), "no more than one was replaced");
    });
    succeeded(run);
    yarn.totals_are_exact();
}

#[test]
fn containers_that_die_at_once_are_tried_a_few_times_and_then_told() {
    let Some(yarn) = Yarn::real() else { return };
    // No address of this machine.
    let options = [
        "-Dtaskmanager.bind-host=203.0.113.1",
        "-Dslot.request.timeout=15 s",
        "-Drestart-strategy.type=none",
        "-Dresourcemanager.start-worker.max-failure-rate=3",
    ];
    let run = yarn.totals("yarn-per-job", &options, || {});
    run.expect_error("H3503", &["APP_FAILED", "ended before it registered", "it exited with 1"]);
}

#[test]
fn who_finds_the_queue_full_waits_until_another_application_is_killed() {
    let Some(yarn) = Yarn::real() else { return };
    // All of the JobManager's node, and what leaves no room for another of any other.
    let nodes = yarn.nodes();
    let mut full = vec!["-Dtaskmanager.memory.process.size=7936m".to_owned()];
    full.push(format!("-Dtaskmanager.numberOfTaskSlots={}", 2 / nodes));
    full.extend(available(&yarn));
    let mut second = None;
    let first = yarn.endless("yarn-application", &words(&full)).run_while(|_| {
        let first = yarn.so_many_computing(nodes)[0].application.clone();
        let options = ["-Dyarn.application.name=second", "-Djobmanager.memory.process.size=512m"];
        second = Some(yarn.job_of_totals("yarn-per-job", &options).run_while(|_| {
            wait_until("the second application waits", || {
                yarn.rest("GET", "/ws/v1/cluster/apps?states=ACCEPTED", "").contains("second")
            });
            let path = format!("/ws/v1/cluster/apps/{first}/state?user.name=root");
            let answer = yarn.rest("PUT", &path, "{\"state\":\"KILLED\"}");
            assert!(answer.contains("202 Accepted"), "{answer}");
        }));
    });
    first.expect_error("H3503", &["APP_KILLED", "killed by user"]);
    let second = second.expect("it ran");
    let free = 256 * (nodes - 1);
    let notice = format!("YARN has {free} MiB free, and the cluster needs 1024 MiB at least; it waits");
    assert!(second.stderr.contains(&notice), "{}", second.stderr);
    succeeded(second);
    yarn.totals_are_exact();
    wait_until("the containers end", || yarn.containers("").is_empty());
    assert_eq!(std::fs::read_dir(yarn.path("ha")).expect("a folder").count(), 0, "what was stored is left");
}
