//! A real YARN with the check of virtual memory on, which is YARN's default, and
//! with privacy on its connections. `HEDDLE_TEST_YARN` names the folder of its
//! configuration.

use heddle_tests::{Heddle, example};

#[test]
fn the_check_of_virtual_memory_is_told_before_and_after() {
    let Some(conf) = std::env::var_os("HEDDLE_TEST_YARN") else {
        eprintln!("SKIPPED: HEDDLE_TEST_YARN names no real YARN; `cargo xtask test` starts one");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let run = Heddle::new()
        .env("HADOOP_CONF_DIR", conf)
        .args(["run", "-t", "yarn-per-job", "-Dtaskmanager.memory.process.size=512m"])
        .args(["-Dslot.request.timeout=40 s", "-Drestart-strategy.type=none"])
        .args(["-Dresourcemanager.start-worker.max-failure-rate=1"])
        .arg(example("running-total"))
        .args(["--records", "1000000000", "--output"])
        .arg(folder.path().join("totals"))
        .run();
    let what = "set `yarn.nodemanager.vmem-check-enabled` to false";
    let (before, after) = run.stderr.split_once("Submitted application_").expect("it was submitted");
    assert!(before.contains(what), "{before}");
    assert!(after.contains("its node killed it for its virtual memory"), "{after}");
    assert!(after.contains(what), "{after}");
    run.expect_error("H3503", &["APP_FAILED"]);
}
