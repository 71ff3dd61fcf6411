//! A YARN of the benchmarks, watched from the outside. Knows no side.

use crate::bench::process::Process;
use crate::servers::ports::{ask, get};
use crate::servers::{Kind, Running, YarnOptions};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Flink's JVMs share few cores with YARN's.
const WHOLE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(10);
/// Between two looks at what costs the servers something.
const POLL_PAGES: Duration = Duration::from_millis(50);
/// Room for the containers of `yarn-scale`.
const NODES: usize = 4;

pub struct Yarn {
    servers: Running,
    /// Of the ResourceManager's pages, and of the NameNode's.
    web: u16,
    files: u16,
    /// Whose home files are staged in.
    user: String,
}

/// What a run of an application showed.
#[derive(Clone, Debug)]
pub struct Watched {
    /// From the start of the command to the first line of a worker's output.
    pub first_ms: Option<f64>,
    /// To the word of YARN that it has ended.
    pub finished_ms: f64,
    /// The most that was there, in bytes.
    pub staged: u64,
}

impl Yarn {
    pub fn start() -> Result<Self> {
        let options = YarnOptions { nodemanagers: NODES, ..YarnOptions::default() };
        let servers = Running::start(Kind::Yarn(options), "yarn-of-benches")?;
        let web = port(&servers, "yarn-site.xml", "yarn.resourcemanager.webapp.address")?;
        let files = port(&servers, "hdfs-site.xml", "dfs.namenode.http-address")?;
        let user = Command::new("id").arg("-un").output().context("id")?.stdout;
        let user = String::from_utf8_lossy(&user).trim().to_owned();
        Ok(Self { servers, web, files, user })
    }

    /// The folder for `HADOOP_CONF_DIR`.
    pub fn conf(&self) -> PathBuf {
        self.servers.conf()
    }

    /// The logs of all nodes.
    pub fn logs(&self) -> PathBuf {
        self.servers.conf().with_file_name("logs")
    }

    /// Applications by id, with their states.
    pub fn applications(&self) -> Result<BTreeMap<String, String>> {
        let page = json(&get(self.web, "/ws/v1/cluster/apps")?)?;
        let list = page["apps"]["app"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(list.iter().map(|app| (text(&app["id"]), text(&app["state"]))).collect())
    }

    fn staged(&self, staging: &str) -> u64 {
        let path = format!("/webhdfs/v1/user/{0}/{staging}?op=GETCONTENTSUMMARY&user.name={0}", self.user);
        let summary = get(self.files, &path).and_then(|page| json(&page));
        summary.ok().and_then(|summary| summary["ContentSummary"]["length"].as_u64()).unwrap_or(0)
    }

    /// Runs a command that puts one application on YARN, until both end.
    pub fn watch(&self, command: &mut Command, output: &str, staging: &str) -> Result<Watched> {
        let before = self.applications()?;
        let (began, mut looked) = (Instant::now(), Instant::now());
        let process = Process::start(command)?;
        let millis = || began.elapsed().as_secs_f64() * 1e3;
        let (mut first_ms, mut staged) = (None, 0);
        while began.elapsed() < WHOLE {
            if first_ms.is_none() && self.has_output(output, &before)? {
                first_ms = Some(millis());
            }
            if looked.elapsed() >= POLL_PAGES {
                looked = Instant::now();
                staged = staged.max(self.staged(staging));
                let now = self.applications()?;
                let own = now.iter().find(|(id, _)| !before.contains_key(*id));
                match own.map(|(id, state)| (id, state.as_str())) {
                    Some((_, "FINISHED")) => {
                        let finished_ms = millis();
                        process.finish(WHOLE)?;
                        return Ok(Watched { first_ms, finished_ms, staged });
                    }
                    Some((id, state @ ("FAILED" | "KILLED"))) => bail!("{id} is {state}"),
                    _ => {}
                }
            }
            sleep(POLL);
        }
        bail!("the application did not end within {WHOLE:?}")
    }

    /// Whether a container of a new application has written to that file.
    fn has_output(&self, output: &str, before: &BTreeMap<String, String>) -> Result<bool> {
        for log in self.container_logs(before)? {
            if fs::metadata(log.join(output)).is_ok_and(|file| file.len() > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The log folders of the containers of applications that are new.
    pub fn container_logs(&self, before: &BTreeMap<String, String>) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let below =
            |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        for node in below(self.logs()).filter(|path| path.is_dir()) {
            for application in below(node).filter(|path| path.is_dir()) {
                let id = application.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if !before.contains_key(&id) {
                    found.extend(below(application));
                }
            }
        }
        Ok(found)
    }

    /// Resident memory of all containers of a job that goes on for ever, once
    /// it has run for a while; then it is killed.
    pub fn resident(&self, command: &mut Command, settle: Duration) -> Result<u64> {
        let before = self.applications()?;
        let began = Instant::now();
        let _process = Process::start(command)?;
        let mut running_since: Option<Instant> = None;
        loop {
            let now = self.applications()?;
            let Some((id, state)) = now.into_iter().find(|(id, _)| !before.contains_key(id)) else {
                if began.elapsed() > WHOLE {
                    bail!("there is no application after {WHOLE:?}");
                }
                sleep(POLL_PAGES);
                continue;
            };
            let containers = containers(&id.replacen("application", "container", 1));
            // The application master, and one worker.
            if containers.len() == 2 && running_since.get_or_insert_with(Instant::now).elapsed() >= settle {
                self.kill(&id)?;
                return Ok(containers.values().sum());
            }
            if ["FINISHED", "FAILED", "KILLED"].contains(&state.as_str()) || began.elapsed() > WHOLE {
                bail!("{id} is {state}, with {} containers", containers.len());
            }
            sleep(POLL_PAGES);
        }
    }

    fn kill(&self, id: &str) -> Result<()> {
        self.send("PUT", &format!("/ws/v1/cluster/apps/{id}/state"), "{\"state\":\"KILLED\"}")?;
        let began = Instant::now();
        while self.applications()?.get(id).is_some_and(|state| state != "KILLED") {
            if began.elapsed() > WHOLE {
                bail!("{id} cannot be killed");
            }
            sleep(POLL_PAGES);
        }
        Ok(())
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let length = body.len();
        ask(
            self.web,
            &format!(
                "{method} {path}?user.name={} HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\
                 Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
                self.user
            ),
        )
    }

    /// From the submission of an application whose only container exits at
    /// once until YARN says that it has ended: no application is faster.
    pub fn floor_ms(&self) -> Result<f64> {
        let new = json(&self.send("POST", "/ws/v1/cluster/apps/new-application", "")?)?;
        let id = new["application-id"].as_str().context("YARN gave no id")?.to_owned();
        let body = serde_json::json!({
            "application-id": id,
            "application-name": "floor",
            "application-type": "floor",
            "am-container-spec": { "commands": { "command": "exit 0" } },
            "max-app-attempts": 1,
            "resource": { "memory": 256, "vCores": 1 },
        });
        let began = Instant::now();
        self.send("POST", "/ws/v1/cluster/apps", &body.to_string())?;
        // It never registers, which YARN calls a failure.
        while self.applications()?.get(&id).is_none_or(|state| state != "FAILED") {
            if began.elapsed() > WHOLE {
                bail!("{id} does not end");
            }
            sleep(POLL);
        }
        Ok(began.elapsed().as_secs_f64() * 1e3)
    }
}

/// Resident bytes by container; shells that YARN starts them with do not count.
fn containers(prefix: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let variable = format!("CONTAINER_ID={prefix}_");
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        let read =
            |name: &str| fs::read(path.join(name)).map(|text| String::from_utf8_lossy(&text).into_owned());
        let (Ok(environment), Ok(status)) = (read("environ"), read("status")) else { continue };
        let Some(id) = environment.split('\0').find(|text| text.starts_with(&variable)) else { continue };
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        if field("Name:") == "bash" {
            continue;
        }
        let kib: u64 =
            field("VmRSS:").split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0);
        *found.entry(id.to_owned()).or_default() += kib * 1024;
    }
    found
}

fn port(servers: &Running, file: &str, key: &str) -> Result<u16> {
    let text = fs::read_to_string(servers.conf().join(file)).with_context(|| file.to_owned())?;
    let value =
        text.split(&format!("<name>{key}</name><value>")).nth(1).and_then(|rest| rest.split('<').next());
    let port = value.and_then(|value| value.rsplit(':').next()).and_then(|port| port.parse().ok());
    port.with_context(|| format!("{file} does not say {key}"))
}

/// The body of an answer.
fn json(page: &str) -> Result<Value> {
    let body = page.split_once("\r\n\r\n").map_or(page, |(_, body)| body);
    serde_json::from_str(body)
        .with_context(|| format!("no JSON: {}", body.chars().take(200).collect::<String>()))
}
