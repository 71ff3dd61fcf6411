//! A real YARN with the check of virtual memory on, which is YARN's default, with
//! privacy on its connections, and with access control. `HEDDLE_TEST_YARN` names
//! the folder of its configuration.

use heddle_tests::{Heddle, example};
use std::ffi::OsString;

/// None, loudly, if there are no servers.
fn conf() -> Option<OsString> {
    let conf = std::env::var_os("HEDDLE_TEST_YARN");
    if conf.is_none() {
        eprintln!("SKIPPED: HEDDLE_TEST_YARN names no real YARN; `cargo xtask test` starts one");
    }
    conf
}

#[test]
fn the_check_of_virtual_memory_is_told_before_and_after() {
    let Some(conf) = conf() else { return };
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

#[test]
fn the_session_of_another_user_stays_theirs() {
    let Some(conf) = conf() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let remembered = format!("-Dyarn.properties-file.location={}", home.path().display());
    let heddle = |command: &str| Heddle::new().env("HADOOP_CONF_DIR", &conf).args([command, &remembered]);
    let session = heddle("yarn-session").args(["-d", "-jm", "256m", "-tm", "512m"]).run().expect_success();
    let id = session.stdout.trim();
    let stop = home.path().join("stop");
    std::fs::write(&stop, "stop\n").expect("a file");
    let named = format!("-Dyarn.application.id={id}");
    let job = example("word-count").display().to_string();
    for command in [
        ["list", &named, "-a"],
        ["cancel", &named, "00000000000000000000000000000001"],
        ["run", &named, &job],
        ["yarn-session", "-id", id],
    ] {
        let (command, options) = command.split_first().expect("a command");
        let other = heddle(command).env("HADOOP_USER_NAME", "mallory").args(options).input(&stop);
        other.run().expect_error("H3503", &[id, "YARN does not show it to mallory"]);
    }
    heddle("list").run().expect_success();
    heddle("yarn-session").args(["-id", id]).input(&stop).run().expect_success();
}
