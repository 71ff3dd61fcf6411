//! One ZooKeeper server.

use crate::servers::ports::{ask, free};
use crate::servers::set::{Plan, Process};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

pub fn plan(folder: &Path, lib: &Path) -> Result<Plan> {
    let [port] = free()?;
    let data = folder.join("data");
    fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
    let file = folder.join("zoo.cfg");
    let settings = [
        // Short, so that tests of sessions that expire are short.
        "tickTime=500".to_owned(),
        format!("dataDir={}", data.display()),
        "clientPortAddress=127.0.0.1".to_owned(),
        format!("clientPort={port}"),
        "admin.enableServer=false".to_owned(),
        "4lw.commands.whitelist=*".to_owned(),
    ];
    fs::write(&file, settings.join("\n") + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    let classpath = format!("{}/*", lib.display());
    let file = file.display().to_string();
    let class = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
    let command = ["java", "-Xmx256m", "-Djava.net.preferIPv4Stack=true", "-cp", &classpath, class, &file];
    Ok(Plan {
        first: Vec::new(),
        processes: vec![Process {
            name: "zookeeper".to_owned(),
            command: command.map(str::to_owned).to_vec(),
        }],
        ready: Box::new(move || Ok(ask(port, "ruok")? == "imok")),
        notes: vec![format!("connect string     127.0.0.1:{port}")],
    })
}
