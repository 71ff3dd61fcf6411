//! What users of a real YARN do with its client: sessions that are remembered,
//! files that are shipped, submissions that are taken back, and what is said
//! when it cannot work. `HEDDLE_TEST_YARN` as in `yarn.rs`.

use heddle_filesystem::hadoop::Environment;
use heddle_filesystem::{CreateOptions, FileSystem, FileSystems};
use heddle_tests::{Heddle, count_words, counts, dist, example, published_lines, signal, wait_until};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// These tests fill the queue and stop HDFS from writing: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

struct Yarn {
    _alone: MutexGuard<'static, ()>,
    conf: String,
    home: tempfile::TempDir,
}

impl Yarn {
    /// None, loudly, if there are no servers.
    fn new() -> Option<Self> {
        let Ok(conf) = std::env::var("HEDDLE_TEST_YARN") else {
            eprintln!(
                "SKIPPED: HEDDLE_TEST_YARN names no real YARN; `cargo xtask servers up yarn` starts one"
            );
            return None;
        };
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Self { _alone: alone, conf, home: tempfile::tempdir().expect("a folder") })
    }

    /// A command of a user who keeps what is remembered in a folder of this test.
    fn heddle(&self, arguments: &[&str]) -> Heddle {
        let remembered = format!("-Dyarn.properties-file.location={}", self.home.path().display());
        let (command, options) = arguments.split_first().expect("a command");
        Heddle::new().env("HADOOP_CONF_DIR", &self.conf).arg(command).arg(remembered).args(options)
    }

    /// A run of word count, of a text on this machine unless it says otherwise.
    fn word_count(&self, options: &[&str], input: &str, output: &Path) -> Heddle {
        let small = ["-Dtaskmanager.memory.process.size=512m", "-Dexecution.runtime-mode=BATCH"];
        let run = self.heddle(&["run"]).args(small).args(options).arg(example("word-count"));
        run.args(["--input", input, "--output"]).arg(output)
    }

    fn text(&self) -> PathBuf {
        let file = self.home.path().join("text.txt");
        std::fs::write(&file, "the loom and the thread\n".repeat(1000)).expect("a file");
        file
    }

    fn on_hdfs<T>(&self, path: &str, work: impl FnOnce(&dyn FileSystem, &Path) -> T) -> T {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let _entered = runtime.enter();
        let files = FileSystems::new(Environment::from([("HADOOP_CONF_DIR".to_owned(), self.conf.clone())]));
        let (system, path) = files.resolve(Path::new(&format!("hdfs://{path}"))).expect("HDFS");
        work(&*system, &path)
    }

    /// The applications that are staged below a folder.
    fn staged(&self, staging: &str) -> usize {
        self.on_hdfs(&format!("{staging}/.heddle"), |system, path| {
            system.names(path).map_or(0, |names| names.len())
        })
    }
}

impl Yarn {
    /// Whether an application has staged a file of that name.
    fn has_staged(&self, staging: &str, name: &str) -> bool {
        self.on_hdfs(&format!("{staging}/.heddle"), |system, path| {
            let applications = system.names(path).unwrap_or_default();
            applications.iter().any(|id| system.exists(&path.join(id).join(name)).unwrap_or(false))
        })
    }
}

#[test]
fn a_session_is_remembered_until_it_is_stopped() {
    let Some(yarn) = Yarn::new() else { return };
    let (text, out) = (yarn.text().display().to_string(), yarn.home.path().join("counts"));
    let session = ["yarn-session", "-d", "-jm", "256m", "-tm", "512m", "-s", "1"];
    let started = yarn.heddle(&session).run().expect_success();
    let id = started.stdout.trim();
    let file =
        std::fs::read_dir(yarn.home.path()).expect("the folder").map(|entry| entry.expect("an entry").path());
    let file = file.into_iter().find(|file| file.to_string_lossy().contains(".heddle-properties-"));
    let file = file.expect("the session is remembered");
    assert!(std::fs::read_to_string(&file).expect("the file").contains(&format!("applicationID={id}")));

    yarn.word_count(&["-t", "yarn-session"], &text, &out).run().expect_success();
    let expected = count_words(&std::fs::read(yarn.text()).expect("the text"));
    assert_eq!(counts(&published_lines(&out)), expected);
    // What is remembered comes before the default, and after what is named.
    let list = yarn.heddle(&["list", "-a", "--json"]).run().expect_success();
    let jobs: serde_json::Value = serde_json::from_str(&list.stdout).expect("JSON");
    let job = jobs[0]["id"].as_str().expect("a job's id").to_owned();
    yarn.heddle(&["info", "-t", "yarn-session", &job]).run().expect_success();
    yarn.heddle(&["cancel", "-t", "yarn-session", &job]).run().expect_error("H3102", &[&job]);
    yarn.word_count(&["-t", "local"], &text, &yarn.home.path().join("local")).run().expect_success();
    let list = yarn.heddle(&["list", "-a", "--json"]).run().expect_success();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&list.stdout).expect("JSON"), jobs);

    let said = yarn.home.path().join("said");
    std::fs::write(&said, "stop\n").expect("a file");
    yarn.heddle(&["yarn-session", "-id", id]).input(&said).run().expect_success();
    assert!(!file.exists(), "a session that was stopped is still remembered");
    yarn.heddle(&["list", "-t", "yarn-session"])
        .run()
        .expect_error("H1201", &["none is remembered", "yarn-session"]);
    for (id, code, words) in [
        (id, "H3503", ["has ended", "FINISHED"]),
        ("application_1700000000000_0001", "H3503", ["is not known", "from -D"]),
        ("application_17", "H1201", ["`application_17`", "looks like application_"]),
    ] {
        yarn.heddle(&["list", &format!("-Dyarn.application.id={id}")]).run().expect_error(code, &words);
    }
    // What is no session is a warning, unless one is wanted.
    std::fs::write(&file, "applicationID=job_1\n").expect("a file");
    let run = yarn.word_count(&[], &text, &yarn.home.path().join("warned")).run().expect_success();
    assert!(run.stderr.contains("warning: the session that is remembered in"), "{}", run.stderr);
    // So is what cannot be read of Hadoop's configuration.
    let broken = yarn.home.path().join("broken");
    std::fs::create_dir(&broken).expect("a folder");
    std::fs::write(broken.join("yarn-site.xml"), "<configuration>").expect("a file");
    let out = yarn.home.path().join("warned-too");
    let run =
        yarn.word_count(&["-t", "local"], &text, &out).env("HADOOP_CONF_DIR", &broken).run().expect_success();
    assert!(run.stderr.contains("warning: neither YARN nor HDFS can be used"), "{}", run.stderr);
    assert!(run.stderr.contains("yarn-site.xml:1"), "{}", run.stderr);
    yarn.heddle(&["list", "-t", "yarn-session"])
        .run()
        .expect_error("H1201", &["job_1", &file.display().to_string()]);
}

#[test]
fn a_submission_that_is_interrupted_leaves_nothing() {
    let Some(yarn) = Yarn::new() else { return };
    let large = yarn.home.path().join("large");
    // It takes a second or two to upload, and no room on this disk.
    std::fs::File::create(&large).and_then(|file| file.set_len(2 << 30)).expect("a file");
    let (ship, staging) = (format!("-Dyarn.ship-files={}", large.display()), "/tests/interrupted");
    yarn.on_hdfs(staging, |system, path| system.create_folders(path, None).expect("a folder"));
    let options = ["-t", "yarn-application", &ship, "-Dyarn.staging-directory=hdfs:///tests/interrupted"];
    let run = yarn.word_count(&options, "text", Path::new("counts")).run_while(|child| {
        wait_until("the submission begins", || yarn.staged(staging) > 0);
        signal(child.id(), Signal::INT);
    });
    assert_eq!(run.code(), 130, "{}", run.stderr);
    assert!(run.stderr.contains("taking back the submission"), "{}", run.stderr);
    assert_eq!(yarn.staged(staging), 0, "staged files are left");
}

#[test]
fn who_waits_for_resources_is_told_and_may_give_up() {
    let Some(yarn) = Yarn::new() else { return };
    let options = [
        "-v",
        "-t",
        "yarn-application",
        "-Djobmanager.memory.process.size=6g",
        "-Dtaskmanager.memory.process.size=6g",
        "-Dyarn.staging-directory=hdfs:///tests/waiting",
    ];
    let text = yarn.text().display().to_string();
    let out = yarn.home.path().join("counts");
    let run = yarn.word_count(&options, &text, &out).run_while(|child| {
        wait_until("all is staged", || yarn.has_staged("/tests/waiting", "heddle-staged.json"));
        signal(child.id(), Signal::TERM);
    });
    assert_eq!(run.code(), 143, "{}", run.stderr);
    assert!(run.stderr.contains("the cluster needs 12288 MiB at least; it waits"), "{}", run.stderr);
    assert_eq!(yarn.staged("/tests/waiting"), 0, "staged files are left");
}

#[test]
fn files_are_shipped_and_those_provided_are_not_uploaded() {
    let Some(yarn) = Yarn::new() else { return };
    let data = yarn.home.path().join("data");
    std::fs::create_dir_all(data.join("deep")).expect("a folder");
    for name in ["one.txt", "deep/two.txt"] {
        std::fs::copy(yarn.text(), data.join(name)).expect("a file");
    }
    let archive = yarn.home.path().join("more.tar.gz");
    let tar =
        Command::new("tar").arg("czf").arg(&archive).arg("-C").arg(yarn.home.path()).arg("data").status();
    assert!(tar.expect("tar runs").success());
    let program = std::fs::read(dist().join("bin/heddle")).expect("the program");
    yarn.on_hdfs("/tests/provided/heddle", |system, path| {
        system.create_folders(path.parent().expect("a folder"), Some(0o755)).expect("a folder");
        let options = CreateOptions { mode: Some(0o755), ..CreateOptions::default() };
        system.write(path, &program, &options).expect("the program");
    });
    let options = [
        "-v",
        "-t",
        "yarn-application",
        "-Dyarn.provided.lib.dirs=hdfs:///tests/provided",
        &format!("-Dyarn.ship-files={}", data.display()),
        &format!("-Dyarn.ship-archives={}", archive.display()),
    ];
    let text = std::fs::read(yarn.text()).expect("the text");
    let once = count_words(&text);
    for (input, times) in [("data", 2), ("more.tar.gz/data/deep", 1)] {
        let out = yarn.home.path().join(format!("counts-{times}"));
        let run = yarn.word_count(&options, input, &out).run().expect_success();
        let expected = once.iter().map(|(word, count)| (word.clone(), count * times)).collect();
        assert_eq!(counts(&published_lines(&out)), expected, "{input}");
        let step = run.stderr.lines().find(|line| line.contains("4/9 ")).expect("step 4");
        let bytes: u64 =
            step.rsplit("bytes=").next().and_then(|text| text.trim().parse().ok()).expect("bytes");
        assert!(bytes < program.len() as u64 / 4, "the program was uploaded: {step}");
    }
}

#[test]
fn what_keeps_files_from_being_staged_is_told() {
    let Some(yarn) = Yarn::new() else { return };
    yarn.on_hdfs("/tests/own", |system, path| system.create_folders(path, Some(0o700)).expect("a folder"));
    let options = ["-t", "yarn-application", "-Dyarn.staging-directory=hdfs:///tests/own"];
    let (text, out) = (yarn.text().display().to_string(), yarn.home.path().join("counts"));
    let denied = yarn.word_count(&options, &text, &out).env("HADOOP_USER_NAME", "mallory");
    denied.run().expect_error("H3504", &["cannot make hdfs://", "Permission denied: user=mallory"]);

    // `dfsadmin` is a program of Hadoop's; its jars lie where the servers are.
    let safe_mode = |what: &str| {
        let jars = Path::new(&yarn.conf).join("../../lib/hadoop/*");
        let status = Command::new("java")
            .arg("-cp")
            .arg(format!("{}:{}", yarn.conf, jars.display()))
            .args(["org.apache.hadoop.hdfs.tools.DFSAdmin", "-safemode", what])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        assert!(status.expect("java runs").success(), "-safemode {what}");
    };
    safe_mode("enter");
    let staged = yarn.word_count(&options[..2], &text, &out).run();
    let output = yarn.word_count(&[], &text, Path::new("hdfs:///tests/safe")).run();
    safe_mode("leave");
    staged.expect_error("H3504", &["is in safe mode"]);
    output.expect_error("H1303", &["is in safe mode", "/tests/safe"]);
}

/// `host:port` where nobody listens, as a ResourceManager that is standby does not.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}

/// A configuration with a ResourceManager of each of these names; the key of an
/// address is without `yarn.resourcemanager.`.
fn highly_available(site: &str, ids: &[&str], address: impl Fn(&str, &str) -> String) -> String {
    let mut more = format!(
        "<property><name>yarn.resourcemanager.ha.enabled</name><value>true</value></property>\n<property><name>\
         yarn.resourcemanager.ha.rm-ids</name><value>{}</value></property>\n",
        ids.join(",")
    );
    for id in ids {
        for key in ["address", "scheduler.address"] {
            let address = address(id, key);
            more += &format!(
                "<property><name>yarn.resourcemanager.{key}.{id}</name><value>{address}</value></property>\n"
            );
        }
    }
    site.replace("</configuration>", &format!("{more}</configuration>"))
}

#[test]
fn of_several_resource_managers_the_active_one_is_found() {
    let Some(yarn) = Yarn::new() else { return };
    let read = |name: &str| std::fs::read_to_string(Path::new(&yarn.conf).join(name)).expect("a file");
    let site = read("yarn-site.xml");
    let real = |key: &str| {
        let start = format!("<name>yarn.resourcemanager.{key}</name><value>");
        let value = site.split_once(&start).expect("an address").1;
        value.split_once('<').expect("an address").0.to_owned()
    };
    let conf = tempfile::tempdir().expect("a folder");
    std::fs::write(conf.path().join("core-site.xml"), read("core-site.xml")).expect("a file");
    let both = highly_available(&site, &["standby", "active"], |id, key| match id {
        "active" => real(key),
        _ => nobody(),
    });
    // Those of one ResourceManager do not count then.
    let both = ["address", "scheduler.address"].iter().fold(both, |site, key| {
        let one = format!("<name>yarn.resourcemanager.{key}</name><value>{}<", real(key));
        site.replace(&one, &format!("<name>yarn.resourcemanager.{key}</name><value>{}<", nobody()))
    });
    std::fs::write(conf.path().join("yarn-site.xml"), both).expect("a file");
    let (text, out) = (yarn.text().display().to_string(), yarn.home.path().join("counts"));
    // The application master has to find it too.
    let run = yarn.word_count(&["-t", "yarn-per-job"], &text, &out).env("HADOOP_CONF_DIR", conf.path());
    run.run().expect_success();
    assert_eq!(counts(&published_lines(&out)), count_words(&std::fs::read(yarn.text()).expect("the text")));
}

#[test]
fn resource_managers_that_are_not_there_are_told_with_their_addresses() {
    if std::env::var_os("HEDDLE_TEST_YARN").is_none() {
        return;
    }
    let conf = tempfile::tempdir().expect("a folder");
    let addresses = [nobody(), nobody()];
    let site = highly_available("<configuration></configuration>", &["0", "1"], |id, _| {
        addresses[id.parse::<usize>().expect("a number")].clone()
    });
    std::fs::write(conf.path().join("yarn-site.xml"), site).expect("a file");
    let run = Heddle::new().env("HADOOP_CONF_DIR", conf.path()).args(["run", "-t", "yarn-application"]);
    run.arg(example("word-count"))
        .run()
        .expect_error("H3502", &["no ResourceManager answers", &addresses[0], &addresses[1]]);
    // Where it is not the target it does not matter.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("text"), "a b\n").expect("a file");
    std::fs::write(conf.path().join("yarn-site.xml"), "<configuration><broken>").expect("a file");
    let run = Heddle::new().env("HADOOP_CONF_DIR", conf.path()).arg("run").arg(example("word-count"));
    run.arg("--input")
        .arg(folder.path().join("text"))
        .arg("--output")
        .arg(folder.path().join("out"))
        .run()
        .expect_success();
}
