//! `cargo xtask test`: everything that CI runs, cheapest first.
//!
//! One profile for all, and the packages of the host apart from those of the
//! guest: together, cargo would unite their features and build the engine of
//! the sandbox a second time.

use crate::servers::{Kind, Running, YarnOptions};
use crate::steps::Steps;
use crate::workspace::{cargo, check, metadata, target};
use crate::{demo, deps, dist, fuzz, maven, simulate, tidy};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// What only code of the guest depends on.
const SDK: [&str; 2] = ["heddle", "heddle-macros"];

pub fn run() -> anyhow::Result<()> {
    let mut steps = Steps::new(14);
    steps.step("format (rustfmt)", || check(cargo().args(["fmt", "--all", "--check"])))?;
    steps.step("form of the sources", tidy::run)?;
    steps.step("directions of dependencies", deps::run)?;
    let dist = steps.step("dist", dist::run)?;
    steps.step("guests of the tests", || dist::build_test_guests(&dist))?;
    let metadata = metadata(&["--no-deps"])?;
    let sides = Sides::new(&metadata);
    for (side, packages) in [("host", &sides.host), ("guest", &sides.guest)] {
        steps.step(&format!("lints of the {side} (clippy, warnings denied)"), || {
            check(release("clippy", packages).args(["--all-targets", "--", "--deny", "warnings"]))
        })?;
    }
    // The tests of the command line run what `dist` built.
    for (side, packages) in [("guest", &sides.guest), ("host", &sides.host)] {
        steps.step(&format!("tests of the {side}"), || {
            let mut tests = release("test", packages);
            check(tests.args(["--lib", "--bins", "--tests"]).env("HEDDLE_DIST", &dist.folder))
        })?;
    }
    steps.step("examples in documentation", || {
        // A package without a library has none.
        check(release("test", &["heddle".to_owned(), "heddle-model".to_owned()]).arg("--doc"))
    })?;
    steps.step("the main job, counted again", || demo::show(&dist, true))?;
    steps.step("YARN (a real ResourceManager)", || yarn(&dist.folder, &sides.host))?;
    steps.step("decoders of bytes of others (fuzz)", fuzz::run_all)?;
    steps.step("a cluster on a network that fails (simulation)", simulate::run_all)?;
    eprintln!("\nall is well, in {}", steps.elapsed());
    Ok(())
}

/// Tests that need real servers; they are skipped where those cannot run. Built
/// with all packages of the host, they are those that were built before.
fn yarn(dist: &Path, host: &[String]) -> anyhow::Result<()> {
    if let Err(missing) = maven::available() {
        eprintln!("   !! SKIPPED, nothing of YARN is tested: {missing:#}");
        return Ok(());
    }
    let plain = YarnOptions { nodemanagers: 1, settings: Vec::new() };
    // One of them is killed.
    let faults = YarnOptions { nodemanagers: 2, settings: settings(&FAULTS) };
    // What protects the tokens' connections is another world with privacy.
    let strict = YarnOptions { nodemanagers: 1, settings: settings(&STRICT) };
    for (options, of_yarn, of_jobs) in [
        (plain, Some(""), ["yarn", "yarn_files", "yarn_client"].as_slice()),
        (faults, None, &["yarn_faults"]),
        (strict, Some("masters"), &["yarn_strict"]),
    ] {
        let servers = Running::start(Kind::Yarn(options), "yarn-of-tests")?;
        if let Some(filter) = of_yarn {
            let mut tests = release("test", host);
            check(tests.args(["--test", "servers", filter]).env("HEDDLE_TEST_YARN", servers.conf()))?;
        }
        if of_yarn == Some("") {
            let mut tests = release("test", host);
            check(tests.args(["--test", "hdfs"]).env("HEDDLE_TEST_YARN", servers.conf()))?;
        }
        for name in of_jobs {
            let mut tests = release("test", host);
            tests.args(["--test", name]).env("HEDDLE_DIST", dist).env("HEDDLE_TEST_YARN", servers.conf());
            check(&mut tests)?;
        }
        servers.stop()?;
    }
    Ok(())
}

/// Nodes leave memory to the kernel otherwise, even if the kernel was not asked.
const ENFORCED: (&str, &str) = ("yarn.nodemanager.resource.memory.enforced", "false");

/// A node that is silent is soon given up; nodes look at their containers often,
/// and for a ResourceManager that is gone.
const FAULTS: [(&str, &str); 5] = [
    ENFORCED,
    ("yarn.nodemanager.container-monitor.interval-ms", "300"),
    ("yarn.nm.liveness-monitor.expiry-interval-ms", "10000"),
    ("yarn.resourcemanager.nm.liveness-monitor.interval-ms", "1000"),
    ("yarn.resourcemanager.connect.retry-interval.ms", "1000"),
];

/// Tokens are renewed within half a minute, those of containers expire soon; the
/// check of virtual memory is on, and applications are their owners' alone.
const STRICT: [(&str, &str); 9] = [
    ENFORCED,
    ("hadoop.rpc.protection", "privacy"),
    ("yarn.am.liveness-monitor.expiry-interval-ms", "8000"),
    ("yarn.resourcemanager.am-rm-tokens.master-key-rolling-interval-secs", "25"),
    ("yarn.resourcemanager.rm.container-allocation.expiry-interval-ms", "10000"),
    ("yarn.nodemanager.vmem-check-enabled", "true"),
    ("yarn.acl.enable", "true"),
    // Of the ResourceManager's own user.
    ("yarn.admin.acl", " "),
    ("yarn.scheduler.capacity.root.acl_administer_queue", " "),
];

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn release(command: &str, packages: &[String]) -> Command {
    let mut cargo = cargo();
    cargo.args([command, "--release"]).env("CARGO_TARGET_DIR", target());
    for package in packages {
        cargo.args(["--package", package]);
    }
    cargo
}

/// The packages of the workspace that are built for this machine.
struct Sides {
    host: Vec<String>,
    guest: Vec<String>,
}

impl Sides {
    fn new(metadata: &Value) -> Self {
        // Nothing but components: built for this machine they are of no use.
        let components: BTreeSet<String> =
            dist::packages(metadata, "tests/guests").into_iter().map(|(_, package)| package).collect();
        let dependencies: BTreeMap<&str, Vec<&str>> = metadata["packages"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|package| {
                let names = package["dependencies"].as_array().into_iter().flatten();
                let names = names.filter_map(|dependency| dependency["name"].as_str());
                (package["name"].as_str().unwrap_or_default(), names.collect())
            })
            .collect();
        let mut guest: BTreeSet<&str> = SDK.into_iter().collect();
        loop {
            let before = guest.len();
            for (name, names) in &dependencies {
                if names.iter().any(|name| guest.contains(name)) {
                    guest.insert(name);
                }
            }
            if guest.len() == before {
                break;
            }
        }
        let (guest, host) = dependencies
            .keys()
            .filter(|name| !components.contains(**name))
            .map(|name| (*name).to_owned())
            .partition(|name| guest.contains(name.as_str()));
        Self { host, guest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::root;

    #[test]
    fn what_leads_to_the_sdk_is_of_the_guest() {
        let package = |name: &str, folder: &str, dependencies: &[&str]| {
            let dependencies: Vec<_> =
                dependencies.iter().map(|name| serde_json::json!({ "name": name })).collect();
            let manifest = root().join(folder).join("Cargo.toml");
            serde_json::json!({ "name": name, "manifest_path": manifest, "dependencies": dependencies })
        };
        let sides = Sides::new(&serde_json::json!({ "packages": [
            package("heddle", "guest-sdk/rust", &["heddle-macros", "serde"]),
            package("heddle-macros", "guest-sdk/rust-macros", &["syn"]),
            package("word-count", "examples/word-count", &["heddle"]),
            package("bench-native", "tests/benches/native", &["word-count"]),
            package("heddle-model", "host/model", &["serde"]),
            package("heddle-cli", "host/cli", &["heddle-model"]),
            package("hostile", "tests/guests/hostile", &["wit-bindgen"]),
        ] }));
        assert_eq!(sides.host, ["heddle-cli", "heddle-model"]);
        assert_eq!(sides.guest, ["bench-native", "heddle", "heddle-macros", "word-count"]);
    }
}
