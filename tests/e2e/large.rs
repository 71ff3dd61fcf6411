//! What must not grow with the input or the parallelism: memory, and threads.

use heddle_tests::{Heddle, count_words, counts, example, guest, published_lines, signal, wait_until};
use std::io::Write;

const REPEATED: u64 = 300;
const RESIDENT_MAX: u64 = 300 << 20;

/// A megabyte of lines, of some thousand words.
fn block() -> String {
    let mut block = String::new();
    let mut number = 1_u64;
    while block.len() < 1 << 20 {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let separator = if number >> 60 == 0 { '\n' } else { ' ' };
        block.push_str(&format!("w{}{separator}", (number >> 40) % 5_000));
    }
    block.push('\n');
    block
}

#[test]
fn hundreds_of_megabytes_of_text_are_counted_in_little_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("large.txt"), folder.path().join("out"));
    let block = block();
    let mut file = std::fs::File::create(&input).expect("the input");
    for _ in 0..REPEATED {
        file.write_all(block.as_bytes()).expect("it is written");
    }
    drop(file);
    let run = Heddle::new()
        .args(["run", "-q", "-p", "2", "-D", "execution.runtime-mode=BATCH"])
        .arg(example("word-count"))
        .arg("--input")
        .arg(&input)
        .arg("--output")
        .arg(&output)
        .run()
        .expect_success();
    let mut expected = count_words(block.as_bytes());
    expected.values_mut().for_each(|count| *count *= REPEATED);
    assert!(counts(&published_lines(&output)) == expected, "each word is counted");
    assert!(run.peak_resident < RESIDENT_MAX, "{} MiB resident", run.peak_resident >> 20);
}

/// Starts a job of that many subtasks on as many slots, and waits until its
/// process has `threads` threads: those that only waited for a disk go after
/// some seconds.
fn runs_on(parallelism: usize, threads: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let deployed = || {
        let files = std::fs::read_dir(folder.path()).expect("the logs").flatten();
        let logs = files.map(|file| std::fs::read_to_string(file.path()).unwrap_or_default());
        logs.map(|log| log.matches("tasks are deployed").count()).sum::<usize>()
    };
    let run = Heddle::new()
        .args(["run", "-q", "-p", &parallelism.to_string(), "-D", "taskmanager.wasm.max-instances=2000"])
        .args(["-D", &format!("env.log.dir={}", folder.path().display())])
        .arg(guest("hostile"))
        .arg("emit-forever")
        .run_while(|child| {
            wait_until("all subtasks are deployed", || deployed() == parallelism);
            let tasks = format!("/proc/{}/task", child.id());
            let count = || std::fs::read_dir(&tasks).expect("the threads").count();
            wait_until(&format!("{parallelism} subtasks run on {threads} threads"), || count() == threads);
            signal(child.id(), rustix::process::Signal::INT);
        });
    assert_eq!(run.code(), 130, "{}", run.stderr);
}

#[test]
fn five_hundred_subtasks_have_no_more_threads_than_one() {
    // The workers, the first thread, and the clock of the sandbox.
    let threads = std::thread::available_parallelism().expect("processors").get() + 2;
    std::thread::scope(|scope| {
        for parallelism in [1, 500] {
            scope.spawn(move || runs_on(parallelism, threads));
        }
    });
}
