//! Text on a real HDFS as input and output of jobs, through the command line:
//! `HEDDLE_TEST_YARN` names the folder of Hadoop's configuration, as in
//! `yarn.rs`.

use heddle_filesystem::hadoop::Environment;
use heddle_filesystem::{CreateOptions, FileSystems};
use heddle_tests::{Heddle, Run, count_words, counts, example};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A folder on HDFS, removed at the end.
struct Folder {
    runtime: tokio::runtime::Runtime,
    files: FileSystems,
    conf: String,
    /// `hdfs://HOST:PORT/tests/NAME`.
    address: String,
}

impl Folder {
    /// None, loudly, if there are no servers.
    fn new(name: &str) -> Option<Self> {
        let Ok(conf) = std::env::var("HEDDLE_TEST_YARN") else {
            eprintln!(
                "SKIPPED: HEDDLE_TEST_YARN names no real HDFS; `cargo xtask servers up yarn` starts one"
            );
            return None;
        };
        let files = FileSystems::new(Environment::from([("HADOOP_CONF_DIR".to_owned(), conf.clone())]));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (system, path) = files.resolve(Path::new(&format!("hdfs:///tests/{name}"))).expect("HDFS");
        let address = format!("{}{}", system.root(), path.display());
        let folder = Self { runtime, files, conf, address };
        folder.remove();
        Some(folder)
    }

    fn do_with<T>(
        &self,
        name: &str,
        work: impl FnOnce(&dyn heddle_filesystem::FileSystem, PathBuf) -> T,
    ) -> T {
        // This thread is none of the runtime's.
        let _entered = self.runtime.enter();
        let address = format!("{}/{name}", self.address);
        let (system, path) = self.files.resolve(Path::new(&address)).expect("HDFS");
        work(&*system, path)
    }

    fn remove(&self) {
        self.do_with("", |system, path| {
            let _ = system.remove_all(&path);
        });
    }

    fn write(&self, name: &str, content: &[u8]) {
        self.do_with(name, |system, path| {
            system.create_folders(path.parent().expect("a folder"), None).expect("a folder");
            let options = CreateOptions { block_bytes: Some(1 << 20), ..CreateOptions::default() };
            system.write(&path, content, &options).expect("a file");
        });
    }

    /// All lines below a folder in which nothing hidden is left.
    fn lines(&self, name: &str) -> Vec<String> {
        self.do_with(name, |system, path| {
            let mut names = system.names(&path).expect("the folder");
            names.sort();
            let mut lines = Vec::new();
            for name in names {
                assert!(!name.to_string_lossy().starts_with('.'), "{name:?} is left");
                let text = system.read(&path.join(name)).expect("a file");
                lines.extend(String::from_utf8_lossy(&text).lines().map(str::to_owned));
            }
            lines
        })
    }

    fn is_there(&self, name: &str) -> bool {
        self.do_with(name, |system, path| system.exists(&path).expect("HDFS answers"))
    }

    fn run(&self, options: &[&str], input: &str, output: &str) -> Run {
        self.runs(options).args(["--input", input, "--output", output]).run()
    }

    fn runs(&self, options: &[&str]) -> Heddle {
        let run = Heddle::new().env("HADOOP_CONF_DIR", &self.conf).arg("run").args(options);
        run.args(["-Dtaskmanager.memory.process.size=512m", "-Dexecution.runtime-mode=BATCH"])
            .arg(example("word-count"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Three megabytes, so that there are several blocks and splits.
fn text() -> (String, BTreeMap<String, u64>) {
    let text: String = (0..120_000).map(|n| format!("the loom {} lifts the thread\n", n % 1000)).collect();
    let expected = count_words(text.as_bytes());
    (text, expected)
}

#[test]
fn an_embedded_cluster_reads_and_writes_hdfs() {
    let Some(folder) = Folder::new("embedded") else { return };
    let (text, expected) = text();
    let (one, two) = text.split_at(text.len() / 3);
    folder.write("text/one.txt", one.as_bytes());
    folder.write("text/deep/two.txt", two.as_bytes());
    folder.write("text/deep/_three.txt", b"hidden");
    let input = format!("{}/text", folder.address);
    let output = format!("{}/counts", folder.address);
    folder.run(&["-p", "2"], &input, &output).expect_success();
    assert_eq!(counts(&folder.lines("counts")), expected);
    // `fs.defaultFS`, a glob, and a folder that is not empty.
    folder
        .run(&[], "hdfs:///tests/embedded/text/{one,deep/t*}.txt", "hdfs:///tests/embedded/again")
        .expect_success();
    assert_eq!(counts(&folder.lines("again")), expected);
    folder.run(&[], &input, &output).expect_error("H1301", &[&output, "is not empty"]);
}

#[test]
fn an_application_reads_and_writes_hdfs() {
    let Some(folder) = Folder::new("application") else { return };
    let (text, expected) = text();
    folder.write("text.txt", text.as_bytes());
    let input = format!("{}/text.txt", folder.address);
    folder.run(&["-t", "yarn-application"], &input, "hdfs:///tests/application/counts").expect_success();
    assert_eq!(counts(&folder.lines("counts")), expected);
}

#[test]
fn what_cannot_be_read_or_written_is_one_clear_line() {
    let Some(folder) = Folder::new("wrong") else { return };
    folder.write("text.txt", b"a line\n");
    let (input, output) = (format!("{}/text.txt", folder.address), format!("{}/counts", folder.address));
    let missing = format!("{}/none.txt", folder.address);
    folder.run(&[], &missing, &output).expect_error("H1301", &[&missing, "does not exist"]);
    assert!(!folder.is_there("counts"), "a job that cannot read makes no folder");
    let glob = format!("{}/*.csv", folder.address);
    folder.run(&[], &glob, &output).expect_error("H1301", &["no file matches", &glob]);
    let denied = folder.runs(&[]).env("HADOOP_USER_NAME", "mallory");
    denied
        .args(["--input", &input, "--output", &output])
        .run()
        .expect_error("H1301", &[&output, "cannot be written", "user=mallory"]);
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("hdfs://{}/text.txt", listener.local_addr().expect("its address"))
    };
    folder.run(&[], &nobody, &output).expect_error("H1303", &[&nobody, "does not answer"]);
    let unknown = Heddle::new().env_remove("HADOOP_CONF_DIR").arg("run").arg(example("word-count"));
    unknown
        .args(["--input", "hdfs:///a", "--output", &output])
        .run()
        .expect_error("H1301", &["fs.defaultFS", "HADOOP_CONF_DIR"]);
}
