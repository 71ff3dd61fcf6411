//! Mistakes of users, through the command line: one clear line, exit code 1,
//! nothing half-written.

use heddle_tests::{Heddle, Run, dist, example, guest, signal, wait_until};
use std::path::Path;
use std::time::Duration;

fn run(arguments: &[&str]) -> Run {
    Heddle::new().args(["run", "-q"]).args(arguments).run()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn files_that_are_no_component() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).expect("a file");
        file
    };
    let component = std::fs::read(example("word-count")).expect("the example");
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty.wasm", vec![], "empty"),
        ("text.wasm", b"hello\n".to_vec(), "a text file: build the job for the target wasm32-wasip2"),
        ("truncated.wasm", component[..component.len() / 2].to_vec(), "truncated"),
        ("module.wasm", b"\0asm\x01\0\0\0".to_vec(), "wasm32-wasip2"),
    ];
    for (name, content, word) in cases {
        run(&[path(&write(name, content))]).expect_error("H1001", &[name, word]);
    }
    let longer = [&component[..], b"more"].concat();
    run(&[path(&write("longer.wasm", &longer))]).expect_error("H1001", &["something was added to it"]);
    run(&[""]).expect_error("H1001", &["the name of the component is empty"]);
    run(&["no-such-file.wasm"]).expect_error("H1001", &["no-such-file.wasm", "no such file"]);
    // The smallest component there is: of no world that we know.
    let other = write("other.wasm", b"\0asm\x0d\0\x01\0");
    run(&[path(&other)]).expect_error("H1002", &["heddle:operator"]);
    // And one that does something, but not what a job does.
    let other = text_component("(instance $i) (export \"shop:cart/total@1.0.0\" (instance $i))");
    let other = write("cart.wasm", &other);
    run(&[path(&other)]).expect_error("H1002", &["heddle:operator", "shop:cart/total@1.0.0"]);
}

fn text_component(text: &str) -> Vec<u8> {
    wat::parse_str(format!("(component {text})")).expect("text of a component")
}

#[test]
fn what_was_not_granted_is_named_with_its_grant() {
    run(&[path(&guest("wants-sockets"))]).expect_error("H1003", &["wasi:sockets/", "`sockets`"]);
    run(&[path(&guest("wants-files"))]).expect_error("H1003", &["wasi:filesystem/", "`filesystem`"]);
    let http = text_component(
        "(import \"wasi:http/outgoing-handler@0.2.6\" (instance)) \
         (instance $job) (export \"heddle:operator/job@0.1.0\" (instance $job))",
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wants-http.wasm");
    std::fs::write(&file, http).expect("a file");
    run(&[path(&file)]).expect_error("H1003", &["wasi:http/outgoing-handler@0.2.6", "`http`"]);
}

#[test]
fn a_main_that_does_not_give_a_plan() {
    let faulty = guest("faulty");
    let faulty = path(&faulty);
    run(&[faulty, "main-panics"]).expect_error("H1101", &["main is broken", "src/lib.rs:"]);
    run(&[faulty, "main-fails"]).expect_error("H1101", &["main does not like this"]);
    run(&["-D", "taskmanager.wasm.plan-timeout=1s", faulty, "main-never-returns"])
        .expect_error("H1101", &["did not return within 1s", "in `main` (src/lib.rs)"]);
    run(&[path(&example("word-count"))]).expect_error("H1101", &["--input"]);
}

#[test]
fn a_main_must_build_the_same_graph_in_every_subtask() {
    let faulty = guest("faulty");
    let faulty = path(&faulty);
    // What a hash map's order and the clock say is the same everywhere, unless
    // the real ones are granted.
    let run_map = || run(&["-p", "2", faulty, "main-iterates-a-map"]).expect_success();
    let mut sums: Vec<u64> =
        run_map().stdout.lines().map(|line| line.trim_matches('"').parse().expect("a number")).collect();
    sums.sort_unstable();
    assert_eq!(sums, (0..=100).map(|number| number + 4095).collect::<Vec<_>>());
    run(&["-p", "2", faulty, "main-reads-the-clock"]).expect_success();
    for (grant, fault) in [("random", "main-iterates-a-map"), ("clocks", "main-reads-the-clock")] {
        let grant = format!("taskmanager.wasm.grants={grant}");
        run(&["-p", "2", "-D", &grant, faulty, fault])
            .expect_error("H2002", &["main built another graph", "main must depend on its arguments alone"]);
    }
}

#[test]
fn an_operator_that_fails_is_named_with_subtask_record_and_line() {
    let faulty = guest("faulty");
    let faulty = path(&faulty);
    let panicked = run(&["-p", "1", faulty, "panics"]).expect_error(
        "H2001",
        &["'work'", "(1/1)", "on record 1234", "tests/guests/faulty/src/lib.rs:", "cannot take number 1234"],
    );
    // The backtrace names the same place, of the frames of the user alone.
    let lines: Vec<&str> = panicked.stderr.lines().map(str::trim).collect();
    let frames: Vec<&&str> = lines.iter().filter(|line| line.starts_with("at ")).collect();
    assert!(
        frames.len() == 1 && frames[0].contains("(tests/guests/faulty/src/lib.rs:"),
        "one frame expected:\n{}",
        panicked.stderr
    );
    assert!(!lines.contains(&""), "an empty line:\n{}", panicked.stderr);
    run(&["-p", "1", faulty, "index"]).expect_error("H2001", &["'work'", "index out of bounds"]);
    let failed = run(&["-p", "2", faulty, "fails"]).expect_error(
        "H2002",
        &["'check' in task 'work -> check -> ", "/2)' failed: number 1234 is refused", "(at record "],
    );
    assert!(failed.stderr.contains("'heddle explain H2002' tells"), "{}", failed.stderr);
    run(&["-p", "1", "-D", "taskmanager.wasm.call-timeout=1s", faulty, "loops"])
        .expect_error("H2003", &["did not return within 1s", "taskmanager.wasm.call-timeout"]);
}

#[test]
fn parallelism_out_of_bounds() {
    let word_count = example("word-count");
    for parallelism in ["0", "99999"] {
        run(&["-p", parallelism, path(&word_count), "--input", "/etc/hostname", "--output", "/tmp/never"])
            .expect_error("H1201", &["`parallelism.default`", parallelism, "from 1 to 32768 (from -p)"]);
    }
    assert!(!Path::new("/tmp/never").exists());
}

#[test]
fn inputs_and_outputs_that_cannot_be() {
    let word_count = example("word-count");
    let word_count = path(&word_count);
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("text");
    std::fs::write(&text, "a b\n").expect("a file");
    let output = folder.path().join("out");
    run(&[word_count, "--input", "/no/such", "--output", path(&output)]).expect_error("H1301", &["/no/such"]);
    assert!(!output.exists(), "nothing is left of a job that did not start");
    run(&[word_count, "--input", path(&text), "--output", "/proc/out"])
        .expect_error("H1301", &["/proc/out", "cannot be written"]);
    run(&[word_count, "--input", path(&text), "--output", path(&text)]).expect_error("H1301", &[path(&text)]);
    std::fs::create_dir(&output).expect("a folder");
    std::fs::write(output.join("precious"), "x").expect("a file");
    run(&[word_count, "--input", path(&text), "--output", path(&output)])
        .expect_error("H1301", &["not empty"]);
    assert_eq!(std::fs::read_to_string(output.join("precious")).expect("still there"), "x");
}

#[test]
fn configuration_that_is_wrong() {
    let word_count = example("word-count");
    let word_count = path(&word_count);
    run(&["-D", "parallelism.defaul=1", word_count]).expect_error("H1201", &["`parallelism.default`"]);
    run(&["-D", "parallelism.default=x", word_count])
        .expect_error("H1201", &["parallelism.default", "`x`", "-D"]);
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.yaml"), "parallelism:\n  default: many\n").expect("a file");
    Heddle::new()
        .env("HEDDLE_CONF_DIR", folder.path())
        .args(["run", "-q", word_count])
        .run()
        .expect_error("H1201", &["parallelism.default", "many", "config.yaml"]);
}

#[test]
fn an_interrupted_run_cancels_the_job_and_leaves_no_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out");
    let run = Heddle::new()
        .args(["run", "-q", "-p", "2"])
        .arg(guest("faulty"))
        .args(["endless", "--output"])
        .arg(&output)
        .run_while(|child| {
            wait_until("the job writes", || output.exists());
            signal(child.id(), rustix::process::Signal::INT);
        });
    assert_eq!(run.code(), 130, "{}", run.stderr);
    assert!(!output.exists(), "no partial output");
    assert!(run.elapsed < Duration::from_secs(30));
}

#[test]
fn commands_of_later_steps_and_unknown_ones_say_so() {
    for command in ["list", "cancel", "savepoint", "yarn-session"] {
        let run = Heddle::new().arg(command).run();
        assert_eq!(run.code(), 1, "{command}: {}", run.stderr);
        assert!(run.stderr.starts_with("error"), "{command}: {}", run.stderr);
    }
    let run = Heddle::new().arg("frobnicate").run();
    assert_eq!(run.code(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("--help"), "{}", run.stderr);
    assert!(dist().join("conf/config.yaml").is_file());
}
