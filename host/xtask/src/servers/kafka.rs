//! One Kafka broker that is its own controller (KRaft).

use crate::servers::ports::free;
use crate::servers::set::{Plan, Process};
use anyhow::{Context, Result};
use std::fs;
use std::net::TcpStream;
use std::path::Path;

/// 16 bytes in base64; any will do for a cluster of one.
const CLUSTER_ID: &str = "aGVkZGxlLXRlc3RzLTAwMQ";

pub fn plan(folder: &Path, lib: &Path) -> Result<Plan> {
    let [port, controller] = free()?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join("server.properties");
    let settings = [
        "process.roles=broker,controller".to_owned(),
        "node.id=1".to_owned(),
        format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        format!("log.dirs={}", folder.join("data").display()),
        "offsets.topic.replication.factor=1".to_owned(),
        "transaction.state.log.replication.factor=1".to_owned(),
        "transaction.state.log.min.isr=1".to_owned(),
        "group.initial.rebalance.delay.ms=0".to_owned(),
    ];
    fs::write(&file, settings.join("\n") + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    let file = file.display().to_string();
    let java = |name: &str, class: &str, arguments: &[&str]| {
        let classpath = format!("{}/*", lib.display());
        let start = ["java", "-Xmx512m", "-Djava.net.preferIPv4Stack=true", "-cp", &classpath, class];
        let command = start.iter().chain(arguments).map(|part| (*part).to_owned()).collect();
        Process { name: name.to_owned(), command }
    };
    Ok(Plan {
        first: vec![java("format", "kafka.tools.StorageTool", &["format", "-t", CLUSTER_ID, "-c", &file])],
        processes: vec![java("kafka", "kafka.Kafka", &[&file])],
        // The broker opens its port when it may be used.
        ready: Box::new(move || Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())),
        notes: vec![format!("bootstrap.servers  127.0.0.1:{port}")],
    })
}
