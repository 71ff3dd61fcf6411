//! Arguments, configuration, help and reports: what `heddle` is told and what
//! it tells, before and beside the job.

use heddle_tests::{Heddle, Run, example, guest};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn heddle(arguments: &[&str]) -> Run {
    Heddle::new().args(arguments).run()
}

/// The error of a wrong command line, which has no code.
#[track_caller]
fn expect_usage(run: &Run, words: &[&str]) {
    assert_eq!(run.code(), 1, "{}", run.stderr);
    assert!(run.stderr.starts_with("error: ") && run.stderr.contains("--help' for usage"), "{}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "`{word}` expected in: {}", run.stderr);
    }
}

#[test]
fn arguments_that_are_no_utf_8_are_refused() {
    let wrong = OsStr::from_bytes(b"\xff");
    let defined = OsStr::from_bytes(b"-Dpipeline.name=\xff");
    let component = example("word-count").into_os_string();
    let cases: [&[&OsStr]; 5] = [
        &[wrong],
        &[OsStr::new("config"), wrong],
        &[OsStr::new("run"), OsStr::new("-p"), wrong, &component],
        &[OsStr::new("run"), defined, &component],
        &[OsStr::new("completions"), wrong],
    ];
    for arguments in cases {
        expect_usage(&Heddle::new().args(arguments).run(), &[]);
    }
    // The name of a file may be anything.
    Heddle::new().arg("run").arg(wrong).run().expect_error("H1001", &["no such file"]);
    Heddle::new().arg("run").arg(&component).arg(wrong).run().expect_error("H1201", &["UTF-8"]);
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let faulty = guest("faulty").into_os_string().into_string().expect("UTF-8");
    let cases: [&[&str]; 6] = [
        &["--help"],
        &["run", "--help"],
        &["completions", "bash"],
        &["config"],
        &["info", &faulty, "main-iterates-a-map"],
        &["run", "-q", &faulty, "main-iterates-a-map"],
    ];
    for arguments in cases {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
        let run = Heddle::new().args(arguments).output(full).run();
        run.expect_error("H1302", &["standard output cannot be written", "No space left"]);
    }
    // Who stops reading wants no more of it.
    for arguments in cases {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        Heddle::new().args(arguments).output(writer).run().expect_success();
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    expect_usage(&heddle(&["run", "-q", "-v", "job.wasm"]), &["--quiet", "--verbose"]);
    heddle(&["run", "-d", "-m", "localhost:1", "--report", "/dev/null", "job.wasm"])
        .expect_error("H1201", &["--report", "-d does not wait"]);
}

fn report(file: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(file).expect("the report")).expect("JSON")
}

#[test]
fn a_report_tells_of_every_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let faulty = guest("faulty");
    let run = |arguments: &[&OsStr], to: &Path| {
        Heddle::new().args(["run", "-q", "-p", "1", "--report"]).arg(to).args(arguments).run()
    };
    let told = |run: Run, code: &str| {
        run.expect_error(code, &[]);
        assert_eq!(report(&file)["failure"]["code"], code);
    };
    told(run(&[faulty.as_os_str(), OsStr::new("panics")], &file), "H2001");
    assert_eq!(report(&file)["status"], "FAILED");
    // Before a job is submitted.
    told(run(&[OsStr::new("no-such.wasm")], &file), "H1001");
    assert_eq!(report(&file)["status"], serde_json::Value::Null);
    told(run(&[faulty.as_os_str(), OsStr::new("main-panics")], &file), "H1101");
    told(run(&[OsStr::new("-Dparallelism.default=x"), faulty.as_os_str()], &file), "H1201");
    // A place where none can be is told before anything runs.
    let output = folder.path().join("out");
    let job: [&OsStr; 4] =
        [faulty.as_os_str(), OsStr::new("endless"), OsStr::new("--output"), output.as_os_str()];
    run(&job, folder.path()).expect_error("H1302", &["the report cannot be written to", "directory"]);
    assert!(!output.exists(), "nothing has run");
    // What fails at the end hides neither the job's failure …
    let run = run(&[faulty.as_os_str(), OsStr::new("panics")], Path::new("/dev/full"));
    let run = run.expect_error("H2001", &["cannot take number"]);
    assert!(run.stderr.contains("the report cannot be written to /dev/full"), "{}", run.stderr);
    // … nor its result.
    let run = Heddle::new()
        .args(["run", "--report", "/dev/full"])
        .arg(&faulty)
        .arg("main-iterates-a-map")
        .run()
        .expect_error("H1302", &["the report cannot be written to /dev/full"]);
    assert!(run.stderr.contains("FINISHED") && !run.stdout.is_empty(), "{}", run.stderr);
}

#[test]
fn configuration_that_cannot_be_read_is_not_ignored() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    let config =
        |folder: &OsStr| Heddle::new().env("HEDDLE_CONF_DIR", folder).args(["config", "parallelism"]).run();
    let refused = |words: &[&str]| {
        config(folder.path().as_os_str()).expect_error("H1201", words);
    };
    config(folder.path().as_os_str()).expect_success();
    std::fs::create_dir(&file).expect("a folder");
    refused(&["config.yaml is not a file"]);
    std::fs::remove_dir(&file).expect("removed");
    std::os::unix::fs::symlink("nowhere", &file).expect("a link");
    refused(&["config.yaml cannot be read", "No such file"]);
    std::fs::remove_file(&file).expect("removed");
    std::fs::write(&file, b"pipeline.name: \xff\n").expect("written");
    refused(&["config.yaml cannot be read"]);
    std::fs::write(&file, "parallelism.default: 1\nparallelism.default: 2\n").expect("written");
    refused(&["config.yaml:2:1", "`parallelism.default` is set twice"]);
    config(OsStr::new("")).expect_error("H1201", &["HEDDLE_CONF_DIR is empty"]);
    Heddle::new()
        .env("HEDDLE_CONFIG_PARALLELISM_DEFAULT", OsStr::from_bytes(b"\xff"))
        .args(["config"])
        .run()
        .expect_error("H1201", &["HEDDLE_CONFIG_PARALLELISM_DEFAULT", "not UTF-8"]);
}

#[test]
fn arguments_that_a_job_does_not_take_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.txt"), folder.path().join("out"));
    std::fs::write(&input, "a b a\n").expect("written");
    let (input, output) = (input.to_str().expect("UTF-8"), output.to_str().expect("UTF-8"));
    let run = |arguments: &[&str]| {
        let component = example("word-count");
        let run = Heddle::new().args(["run", "-q"]).arg(component).args(arguments).run();
        assert!(!Path::new(output).exists(), "nothing was published");
        run.expect_error("H1101", &[]).stderr
    };
    let takes =
        "this job takes --input <VALUE> --output <VALUE>; options of Heddle stand before the component";
    let all = ["--input", input, "--output", output];
    for (more, expected) in [
        (&["-p", "3"][..], format!("unknown argument `-p`; {takes}")),
        (&["extra"], format!("unknown argument `extra`; {takes}")),
        (&["--input", input], "the argument --input is given twice".to_owned()),
        (&["--parallelism", "3"], format!("unknown argument --parallelism; {takes}")),
        (&["--outputs", "x"], "unknown argument --outputs; did you mean --output?".to_owned()),
        (&["--help"], takes.to_owned()),
    ] {
        let stderr = run(&[&all, more].concat());
        assert!(stderr.contains(&expected), "`{expected}` expected in: {stderr}");
    }
    assert!(run(&["--help"]).contains(takes));
    assert!(
        run(&["--input", input, "--ouput", output]).contains("--output is missing; is --ouput meant for it?")
    );
}

#[test]
fn what_a_later_version_serves_says_so() {
    let later = |arguments: &[&str], words: &[&str]| {
        heddle(arguments).expect_error("H1201", &[words, &["this version does not have"]].concat());
    };
    later(&["savepoint", "x"], &["`heddle savepoint` needs savepoints"]);
    later(&["stop", "-p", "x"], &["`heddle stop` needs savepoints"]);
    later(&["run", "-s", "file:///savepoint", "job.wasm"], &["option -s needs savepoints", "leave it out"]);
    later(&["run", "--fromSavepoint", "x", "job.wasm"], &["option -s needs savepoints"]);
    later(&["run", "-n", "job.wasm"], &["option -n needs savepoints", "leave it out"]);
}

#[test]
fn commands_that_only_tell_something() {
    let help = heddle(&["--help"]).expect_success().stdout;
    for command in ["run", "info", "config", "completions", "list", "cancel", "cluster", "yarn-session"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} expected in:\n{help}");
        let own = heddle(&[command, "--help"]).expect_success().stdout;
        assert!(own.contains(&format!("Usage: heddle {command}")), "{own}");
        assert!(own.lines().all(|line| line.chars().count() <= 110), "{own}");
        assert_eq!(heddle(&["help", command]).expect_success().stdout, own);
    }
    assert_eq!(heddle(&["help"]).expect_success().stdout, help);
    assert!(heddle(&["--version"]).expect_success().stdout.starts_with("heddle 0."));
    let script = heddle(&["completions", "bash"]).expect_success().stdout;
    assert!(script.contains("_heddle()") && script.contains("--parallelism"), "{script}");
    expect_usage(&heddle(&["completions", "fisch"]), &["did you mean `fish`?"]);
    expect_usage(&heddle(&["frobnicate"]), &["unrecognized subcommand 'frobnicate'"]);
}

#[test]
fn the_configuration_is_shown_with_its_origins() {
    let shown = heddle(&["config", "-p", "4", "parallelism.def"]).expect_success().stdout;
    assert_eq!(shown, "parallelism.default  4  -p\n");
    let variable = Heddle::new().env("HEDDLE_CONFIG_PARALLELISM_DEFAULT", "3");
    let run = variable.args(["config", "--json", "parallelism.default"]).run().expect_success();
    let shown: serde_json::Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(shown[0]["value"], "3");
    assert_eq!(shown[0]["origin"], "environment variable HEDDLE_CONFIG_PARALLELISM_DEFAULT");
    let all = heddle(&["config", "--all"]).expect_success().stdout;
    assert!(all.contains("taskmanager.wasm.cache-dir"), "{all}");
}

#[test]
fn the_plan_of_a_component_is_shown() {
    let component = example("word-count");
    let info = |options: &[&str]| {
        let arguments: Vec<OsString> = [&["info", "-p", "3"][..], options]
            .concat()
            .into_iter()
            .map(OsString::from)
            .chain([component.clone().into_os_string()])
            .chain(["--input", "/etc/hostname", "--output", "/tmp/never"].map(OsString::from))
            .collect();
        Heddle::new().args(arguments).run().expect_success().stdout
    };
    let picture = info(&[]);
    assert!(picture.contains("→ words") && picture.contains("HASH"), "{picture}");
    let plan: serde_json::Value = serde_json::from_str(&info(&["--json"])).expect("JSON");
    let nodes = plan["nodes"].as_array().expect("nodes");
    assert!(nodes.iter().all(|node| node["parallelism"] == 3), "{plan}");
    assert!(!Path::new("/tmp/never").exists());
}

#[test]
fn what_a_run_would_refuse_the_configuration_says_too() {
    for (options, words) in [
        (&["-p", "0"][..], &["`parallelism.default`: `0` is not an integer from 1 to 32768 (from -p)"][..]),
        (&["-p", "-1"], &["`-1` is not an integer from 1 to 32768 (from -p)"]),
        (&["-Dtaskmanager.wasm.grants=a;b"], &["`taskmanager.wasm.grants`", "`a`", "(from -D)"]),
        (&["-Dtaskmanager.memory.process.size=1"], &["`taskmanager.memory.process.size`", "too small"]),
        (&["-Dtaskmanager.memory.process.size=100000t"], &["more than a process can have", "(from -D)"]),
        (&["-Drestart-strategy.exponential-delay.backoff-multiplier=-1"], &["-1 is below 1.0 (from -D)"]),
        (&["-Dtaskmanager.wasm.cache-dir="], &["`taskmanager.wasm.cache-dir` is empty (from -D)"]),
        (&["-D", "frobnicate"], &["unknown configuration key `frobnicate`", "expected -DKEY=VALUE"]),
        (&["paralel"], &["no configuration key contains `paralel`"]),
        (&["cache-dir"], &["no key that contains `cache-dir` has a value", "`taskmanager.wasm.cache-dir`"]),
    ] {
        heddle(&[&["config"], options].concat()).expect_error("H1201", words);
        if options[0].starts_with('-') {
            heddle(&[&["run"], options, &["no-such.wasm"]].concat()).expect_error("H1201", words);
        }
    }
}

#[test]
fn the_cache_of_compiled_components_finds_a_place_or_says_what_to_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |home: Option<&Path>| {
        let heddle = Heddle::new().env("TMPDIR", folder.path()).env_remove("XDG_CACHE_HOME");
        let heddle = match home {
            Some(home) => heddle.env("HOME", home),
            None => heddle.env_remove("HOME"),
        };
        heddle.args(["run", "-q"]).arg(guest("faulty")).run()
    };
    // Accounts of services have no home, or one that is not there.
    let user = rustix::process::geteuid().as_raw();
    let cache = folder.path().join(format!("heddle-components-{user}"));
    for home in [None, Some(Path::new("/nonexistent"))] {
        run(home).expect_success();
        assert!(cache.read_dir().expect("the cache").count() > 0);
        std::fs::remove_dir_all(&cache).expect("removed");
    }
    assert!(!Path::new("/nonexistent").exists());
    // A home that is of no use is told, with what to set.
    std::fs::write(folder.path().join(".cache"), "a file").expect("written");
    run(Some(folder.path())).expect_error(
        "H1201",
        &[
            ".cache/heddle/components cannot be used",
            "`taskmanager.wasm.cache-dir`",
            "(from environment variable HOME)",
        ],
    );
}

#[test]
fn every_error_is_explained() {
    let page = heddle(&["explain", "h1301"]).expect_success().stdout;
    assert!(page.starts_with("# H1301: ") && page.contains("## Causes, and what helps"), "{page}");
    let list = heddle(&["explain"]).expect_success().stdout;
    for line in list.lines() {
        let (code, title) = line.split_once(": ").expect("a code and its title");
        assert!(
            heddle(&["explain", code]).expect_success().stdout.starts_with(&format!("# {code}: {title}\n"))
        );
    }
    assert!(list.lines().count() > 40, "{list}");
    heddle(&["explain", "H9999"]).expect_error("H1201", &["`H9999`", "`heddle explain` lists"]);
}

#[test]
fn a_good_run_logs_no_refusal() {
    let run = Heddle::new().args(["run", "-v"]).arg(guest("faulty")).run().expect_success();
    assert!(run.stderr.contains("job submitted") && !run.stderr.contains("refused"), "{}", run.stderr);
}

#[test]
fn counters_of_operators_reach_the_summary_and_the_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.json");
    let run = Heddle::new()
        .args(["run", "-p", "3", "--report"])
        .arg(&file)
        .arg(guest("faulty"))
        .arg("counts")
        .run();
    let run = run.expect_success();
    assert!(run.stderr.contains("Accumulator results:\n  even numbers: 5000\n"), "{}", run.stderr);
    assert_eq!(report(&file)["accumulators"], serde_json::json!({ "even numbers": 5000 }));
}
