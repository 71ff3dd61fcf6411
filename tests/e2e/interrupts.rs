//! Runs that are told to end, or killed, at each stage: nothing half-written is
//! left, or the next run takes it away.

use heddle_tests::{Heddle, Run, count_words, counts, example, guest, published_lines, signal, wait_until};
use rustix::process::Signal;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

/// A run that nobody ends by itself is told to end once `is_time`.
fn ended_by(heddle: Heddle, told: Signal, what: &str, is_time: impl Fn(&Child) -> bool) -> Run {
    heddle.limit(Duration::from_secs(60)).run_while(|child| {
        wait_until(what, || is_time(child));
        signal(child.id(), told);
    })
}

/// Whether this process does, and so what it starts.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("what the system says of it");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("ignored signals");
    u64::from_str_radix(mask.trim(), 16).expect("bits") & 1 != 0
}

/// Processes that a process started and that still run.
fn children_of(pid: u32) -> usize {
    let processes = std::fs::read_dir("/proc").expect("the processes");
    let is_child = |path: PathBuf| {
        // `pid (name) state parent …`
        let stat = std::fs::read_to_string(path.join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parent == Some(pid)
    };
    processes.filter(|entry| entry.as_ref().is_ok_and(|entry| is_child(entry.path()))).count()
}

/// Hidden folders of jobs in an output folder.
fn staged(output: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(output) else { return Vec::new() };
    let entries = entries.map(|entry| entry.expect("an entry"));
    let hidden = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".heddle-"));
    hidden.map(|entry| entry.path()).collect()
}

/// Whether a job has written some of its output, which nobody sees yet.
fn writes(output: &Path) -> bool {
    let parts = |folder: &PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("part-")).count()
    };
    staged(output).iter().any(|folder| parts(folder) > 0)
}

fn endless(output: &Path) -> Heddle {
    Heddle::new()
        .args(["run", "-q", "-p", "1"])
        .arg(guest("faulty"))
        .args(["endless", "--output"])
        .arg(output)
}

fn counting(input: &Path, output: &Path) -> Heddle {
    let heddle = Heddle::new().args(["run", "-q", "-p", "2", "-D", "execution.runtime-mode=BATCH"]);
    heddle.arg(example("word-count")).arg("--input").arg(input).arg("--output").arg(output)
}

#[test]
fn at_the_compilation_and_in_main_a_signal_ends_the_run_with_its_children() {
    let folder = tempfile::tempdir().expect("a folder");
    let (cache, output) = (folder.path().join("cache"), folder.path().join("out"));
    let run = || {
        Heddle::new()
            .args(["run", "-D", &format!("taskmanager.wasm.cache-dir={}", cache.display())])
            .arg(guest("faulty"))
            .args(["main-never-returns", "--output"])
            .arg(&output)
    };
    let compiled = || std::fs::read_dir(&cache).is_ok_and(|entries| entries.count() > 0);
    let mut pid = 0;
    let ended = run().run_while(|child| {
        pid = child.id();
        wait_until("the compiler's process runs", || children_of(pid) > 0);
        signal(pid, Signal::INT);
    });
    assert_eq!((ended.code(), ended.stdout.as_str()), (130, ""), "{}", ended.stderr);
    wait_until("the compiler's process is gone", || children_of(pid) == 0);
    // Now to `main`: it is compiled, and nothing else is left to do.
    let ended = ended_by(run(), Signal::INT, "the component is compiled", |child| {
        compiled() && children_of(child.id()) == 0
    });
    assert_eq!(ended.code(), 130, "{}", ended.stderr);
    assert!(!output.exists(), "no output");
}

/// A cluster that takes connections and never says a word.
#[test]
fn a_second_signal_ends_a_submission_that_has_no_answer() {
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = deaf.local_addr().expect("its address").to_string();
    let run = Heddle::new().args(["run", "-m", &address]).arg(guest("faulty")).run_while(|child| {
        let connection = deaf.accept().expect("the client");
        signal(child.id(), Signal::INT);
        // The first one waits for an answer, in case that the job was taken.
        let pid = child.id();
        std::thread::spawn(move || {
            let _connection = connection;
            while Path::new(&format!("/proc/{pid}/stat")).exists() && !is_zombie(pid) {
                signal(pid, Signal::INT);
                std::thread::sleep(Duration::from_millis(200));
            }
        });
    });
    assert_eq!(run.code(), 130, "{}", run.stderr);
    assert!(run.stderr.contains("once more to end at once"), "{}", run.stderr);
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn a_running_job_is_cancelled_by_each_signal_and_leaves_no_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("out");
    // Under `nohup` these tests' children do not hear of a closed terminal.
    let hang_up = (!ignores_hang_up()).then_some((Signal::HUP, 129));
    for (told, code) in [(Signal::INT, 130), (Signal::TERM, 143)].into_iter().chain(hang_up) {
        let run = ended_by(endless(&output), told, "the job writes", |_| writes(&output));
        assert_eq!(run.code(), code, "{}", run.stderr);
        assert!(!output.exists(), "no partial output");
    }
}

#[test]
fn a_folder_that_a_job_writes_to_is_refused_and_what_it_leaves_when_killed_goes_with_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let (input, output) = (folder.path().join("in.txt"), folder.path().join("out"));
    std::fs::write(&input, "to be or not to be").expect("the input");
    let word_count = || counting(&input, &output).run();
    let killed = endless(&output).run_while(|child| {
        wait_until("the job writes", || writes(&output));
        let id = staged(&output)[0].file_name().expect("a name").to_string_lossy().replace(".heddle-", "");
        word_count().expect_error("H1301", &["out` is being written by job ", &id, "choose another"]);
        signal(child.id(), Signal::KILL);
    });
    assert_eq!(killed.status.code(), None, "killed");
    assert_eq!(staged(&output).len(), 1);
    word_count().expect_success();
    assert_eq!(staged(&output), Vec::<PathBuf>::new());
    assert_eq!(counts(&published_lines(&output)), count_words(b"to be or not to be"));
}

#[test]
fn of_two_runs_into_one_folder_one_wins_and_the_other_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |word: &'static str, output: PathBuf| {
        let input = folder.path().join(word);
        std::fs::write(&input, word.repeat(3)).expect("the input");
        std::thread::spawn(move || counting(&input, &output).run())
    };
    for round in 0..5 {
        let output = folder.path().join(format!("out-{round}"));
        let runs = [("one ", run("one ", output.clone())), ("two ", run("two ", output.clone()))];
        let runs = runs.map(|(word, run)| (word, run.join().expect("a run")));
        let won: Vec<_> = runs.iter().filter(|(_, run)| run.status.success()).collect();
        let [(word, _)] = won.as_slice() else { panic!("one is to win: {runs:?}") };
        assert_eq!(counts(&published_lines(&output)), count_words(word.repeat(3).as_bytes()));
        let (_, lost) = runs.iter().find(|(_, run)| !run.status.success()).expect("the other");
        assert!(lost.stderr.contains("is being written by job") || lost.stderr.contains("is not empty"));
    }
}
