//! What the end-to-end tests share: the built `heddle` as a process, bounded
//! in time, and readers of what it left on disk. It knows the command line and
//! nothing behind it.

pub mod terminal;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// No single run of these tests may take longer; a hanging one is killed and
/// fails with what it printed.
const RUN_TIME_MAX: Duration = Duration::from_secs(120);

/// The folder that `cargo xtask dist` makes.
pub fn dist() -> PathBuf {
    let dist = match std::env::var_os("HEDDLE_DIST") {
        Some(dist) => PathBuf::from(dist),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/dist"),
    };
    assert!(
        dist.join("bin/heddle").is_file(),
        "{} has no bin/heddle: run `cargo xtask dist` first",
        dist.display()
    );
    dist
}

/// A component of `examples/`.
pub fn example(name: &str) -> PathBuf {
    dist().join("examples").join(format!("{name}.wasm"))
}

/// A component of `tests/guests/`.
pub fn guest(name: &str) -> PathBuf {
    dist().join("test-guests").join(format!("{name}.wasm"))
}

/// What one run of `heddle` did.
#[derive(Debug)]
pub struct Run {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub elapsed: Duration,
    /// Most resident memory of the process, in bytes.
    pub peak_resident: u64,
}

impl Run {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.status.success(), "exit {:?}\n{}\n{}", self.status, self.stdout, self.stderr);
        self
    }

    /// Fails unless the run exited with 1 and printed exactly one error line,
    /// which has this code and all of these words.
    #[track_caller]
    pub fn expect_error(self, code: &str, words: &[&str]) -> Self {
        assert_eq!(self.code(), 1, "exit {:?}\n{}\n{}", self.status, self.stdout, self.stderr);
        let errors: Vec<&str> = self.stderr.lines().filter(|line| line.starts_with("error")).collect();
        assert_eq!(errors.len(), 1, "one error line expected:\n{}", self.stderr);
        let line = errors[0];
        assert!(line.starts_with(&format!("error[{code}]: ")), "code {code} expected: {line}");
        for word in words {
            assert!(line.contains(word), "`{word}` expected in: {line}");
        }
        assert!(!self.stderr.contains("RUST_BACKTRACE"), "the host panicked:\n{}", self.stderr);
        self
    }
}

/// A run of `heddle` to be.
pub struct Heddle {
    command: Command,
    limit: Duration,
    _home: tempfile::TempDir,
}

impl Default for Heddle {
    fn default() -> Self {
        Self::new()
    }
}

impl Heddle {
    /// `heddle` with an empty configuration folder and logs of its own.
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(dist().join("bin/heddle"));
        command
            .env("HEDDLE_CONF_DIR", home.path())
            .env("HEDDLE_LOG_DIR", home.path().join("log"))
            // A session on YARN that somebody remembers is none of a test's.
            .env("HEDDLE_CONFIG_YARN_PROPERTIES_FILE_LOCATION", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self { command, limit: RUN_TIME_MAX, _home: home }
    }

    pub fn args<I, S>(mut self, args: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        self.command.args(args);
        self
    }

    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn env(mut self, key: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    pub fn env_remove(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// What it reads from its standard input.
    pub fn input(mut self, file: &Path) -> Self {
        self.command.stdin(std::fs::File::open(file).expect("the input"));
        self
    }

    /// Where its standard output goes.
    pub fn output(mut self, file: impl Into<Stdio>) -> Self {
        self.command.stdout(file);
        self
    }

    /// Where its standard error goes.
    pub fn errors(mut self, file: impl Into<Stdio>) -> Self {
        self.command.stderr(file);
        self
    }

    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs to the end.
    #[track_caller]
    pub fn run(self) -> Run {
        self.run_while(|_| {})
    }

    /// Runs to the end; `meddle` is called once the process has started.
    #[track_caller]
    pub fn run_while(mut self, meddle: impl FnOnce(&Child)) -> Run {
        let began = Instant::now();
        let mut child = self.command.spawn().expect("heddle starts");
        let read = |stream: Option<Box<dyn Read + Send>>| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                if let Some(mut stream) = stream {
                    let _ = stream.read_to_end(&mut text);
                }
                String::from_utf8_lossy(&text).into_owned()
            })
        };
        let stdout = read(child.stdout.take().map(|s| Box::new(s) as Box<dyn Read + Send>));
        let stderr = read(child.stderr.take().map(|s| Box::new(s) as Box<dyn Read + Send>));
        meddle(&child);
        let mut peak_resident = 0;
        let (status, killed) = loop {
            peak_resident = peak_resident.max(peak_resident_of(child.id()));
            if let Some(status) = child.try_wait().expect("heddle can be waited for") {
                break (status, false);
            }
            if began.elapsed() > self.limit {
                let _ = child.kill();
                break (child.wait().expect("heddle can be waited for"), true);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = (stdout.join().expect("reader"), stderr.join().expect("reader"));
        assert!(!killed, "still running after {:?}\n{stdout}\n{stderr}", self.limit);
        Run { status, stdout, stderr, elapsed: began.elapsed(), peak_resident }
    }
}

/// High-water mark of a process's resident memory in bytes; 0 once it is gone.
pub fn peak_resident_of(pid: u32) -> u64 {
    memory_of(pid, "VmHWM:")
}

/// Resident memory of a process in bytes; 0 once it is gone.
pub fn resident_of(pid: u32) -> u64 {
    memory_of(pid, "VmRSS:")
}

fn memory_of(pid: u32, what: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the signal is sent");
}

/// Waits until the condition holds; fails after a minute.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// All lines of the files that a text sink published, files in order of name.
/// Fails when a hidden file is left.
#[track_caller]
pub fn published_lines(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    let mut lines = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(!name.starts_with('.'), "a hidden file is left: {}", file.display());
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

/// Reads lines of `key,count`; a key may stand only once.
#[track_caller]
pub fn counts(lines: &[String]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in lines {
        let (key, count) = line.rsplit_once(',').unwrap_or_else(|| panic!("no comma in `{line}`"));
        let count = count.parse().unwrap_or_else(|_| panic!("no count in `{line}`"));
        assert!(counts.insert(key.to_owned(), count).is_none(), "`{key}` stands twice");
    }
    counts
}

/// The independent word count: runs of ASCII letters and digits, lower-cased.
pub fn count_words(text: &[u8]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for word in text.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = String::from_utf8(word.to_ascii_lowercase()).expect("ASCII");
        *counts.entry(word).or_default() += 1;
    }
    counts
}
