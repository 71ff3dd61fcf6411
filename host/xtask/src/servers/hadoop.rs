//! HDFS and YARN: their configuration, their processes, when they are ready.

use crate::servers::YarnOptions;
use crate::servers::ports::{free, get};
use crate::servers::set::{Plan, Process};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// What each NodeManager has to give.
const NODE_MEMORY_MIB: u32 = 8192;
const NODE_VCORES: u32 = 32;

const LOG: &str = "\
log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
";

/// The daemons want these on their class path, with or without pages.
const WEBAPPS: [&str; 5] = ["hdfs", "datanode", "secondary", "cluster", "node"];

type Settings = Vec<(String, String)>;

/// NameNode and DataNode.
pub fn hdfs(folder: &Path, lib: &Path) -> Result<Plan> {
    let [name_node, name_node_http, data, data_http, data_ipc] = free()?;
    let conf = folder.join("conf");
    let address = |port: u16| format!("127.0.0.1:{port}");
    let core = settings(&[
        ("fs.defaultFS", &format!("hdfs://{}", address(name_node))),
        ("hadoop.tmp.dir", &folder.join("data").display().to_string()),
    ]);
    let hdfs = settings(&[
        ("dfs.replication", "1"),
        ("dfs.namenode.http-address", &address(name_node_http)),
        ("dfs.datanode.address", &address(data)),
        ("dfs.datanode.http.address", &address(data_http)),
        ("dfs.datanode.ipc.address", &address(data_ipc)),
        ("dfs.datanode.hostname", "127.0.0.1"),
        ("dfs.blocksize", "8388608"),
        ("dfs.namenode.fs-limits.min-block-size", "65536"),
    ]);
    write_conf(&conf, &[("core-site.xml", core), ("hdfs-site.xml", hdfs)])?;
    let server = "org.apache.hadoop.hdfs.server";
    let name_node_class = format!("{server}.namenode.NameNode");
    let java = |name: &str, class: &str, arguments: &[&str]| java(name, &conf, lib, class, arguments);
    Ok(Plan {
        first: vec![java("format", &name_node_class, &["-format", "-force"])],
        processes: vec![
            java("namenode", &name_node_class, &[]),
            java("datanode", &format!("{server}.datanode.DataNode"), &[]),
        ],
        ready: Box::new(move || {
            let bean = "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState";
            let state = get(name_node_http, bean)?;
            Ok(has(&state, "NumLiveDataNodes", "1") && has(&state, "FSState", "\"Operational\""))
        }),
        notes: vec![
            format!("fs.defaultFS       hdfs://{}", address(name_node)),
            format!("HADOOP_CONF_DIR    {}", conf.display()),
        ],
    })
}

/// HDFS, the ResourceManager, and so many NodeManagers.
pub fn yarn(folder: &Path, lib: &Path, options: &YarnOptions) -> Result<Plan> {
    let mut plan = hdfs(folder, lib)?;
    let [client, scheduler, tracker, admin, web] = free()?;
    let conf = folder.join("conf");
    let address = |port: u16| format!("127.0.0.1:{port}");
    let data = folder.join("data");
    let mut site = settings(&[
        ("yarn.resourcemanager.hostname", "127.0.0.1"),
        ("yarn.resourcemanager.address", &address(client)),
        ("yarn.resourcemanager.scheduler.address", &address(scheduler)),
        ("yarn.resourcemanager.resource-tracker.address", &address(tracker)),
        ("yarn.resourcemanager.admin.address", &address(admin)),
        ("yarn.resourcemanager.webapp.address", &address(web)),
        // A ResourceManager that is started again knows its applications.
        ("yarn.resourcemanager.recovery.enabled", "true"),
        (
            "yarn.resourcemanager.store.class",
            "org.apache.hadoop.yarn.server.resourcemanager.recovery.FileSystemRMStateStore",
        ),
        ("yarn.resourcemanager.fs.state-store.uri", &format!("file://{}", data.join("rm-state").display())),
        ("yarn.scheduler.minimum-allocation-mb", "128"),
        ("yarn.nodemanager.resource.memory-mb", &NODE_MEMORY_MIB.to_string()),
        ("yarn.nodemanager.resource.cpu-vcores", &NODE_VCORES.to_string()),
        ("yarn.nodemanager.vmem-check-enabled", "false"),
        // A full disk of the machine is not what is tested.
        ("yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage", "99"),
    ]);
    site.extend(options.settings.iter().cloned());
    let queue = settings(&[
        ("yarn.scheduler.capacity.root.queues", "default"),
        ("yarn.scheduler.capacity.root.default.capacity", "100"),
        ("yarn.scheduler.capacity.maximum-am-resource-percent", "0.5"),
        (
            "yarn.scheduler.capacity.resource-calculator",
            "org.apache.hadoop.yarn.util.resource.DominantResourceCalculator",
        ),
    ]);
    write_conf(&conf, &[("yarn-site.xml", site.clone()), ("capacity-scheduler.xml", queue)])?;
    let server = "org.apache.hadoop.yarn.server";
    let class = format!("{server}.resourcemanager.ResourceManager");
    plan.processes.push(java("resourcemanager", &conf, lib, &class, &[]));
    for number in 1..=options.nodemanagers {
        let [node, localizer, node_web] = free()?;
        let name = format!("nodemanager-{number}");
        let own = folder.join("conf-nodes").join(&name);
        let mut site = site.clone();
        site.extend(settings(&[
            ("yarn.nodemanager.hostname", "127.0.0.1"),
            ("yarn.nodemanager.address", &address(node)),
            ("yarn.nodemanager.localizer.address", &address(localizer)),
            ("yarn.nodemanager.webapp.address", &address(node_web)),
            ("yarn.nodemanager.local-dirs", &data.join(&name).join("local").display().to_string()),
            ("yarn.nodemanager.log-dirs", &folder.join("logs").join(&name).display().to_string()),
        ]));
        write_conf(&own, &[("yarn-site.xml", site)])?;
        for file in ["core-site.xml", "hdfs-site.xml"] {
            fs::copy(conf.join(file), own.join(file)).with_context(|| file.to_owned())?;
        }
        let class = format!("{server}.nodemanager.NodeManager");
        plan.processes.push(java(&name, &own, lib, &class, &[]));
    }
    let (nodemanagers, hdfs_ready) = (options.nodemanagers, plan.ready);
    plan.ready = Box::new(move || {
        let metrics = get(web, "/ws/v1/cluster/metrics")?;
        Ok(has(&metrics, "activeNodes", &nodemanagers.to_string()) && hdfs_ready()?)
    });
    plan.notes.push(format!("ResourceManager    http://{}", address(web)));
    Ok(plan)
}

fn settings(settings: &[(&str, &str)]) -> Settings {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Whether a JSON text has this field with this value, wherever it is.
fn has(json: &str, field: &str, value: &str) -> bool {
    let text: String = json.split_whitespace().collect();
    let start = format!("\"{field}\":{value}");
    text.match_indices(&start).any(|(at, _)| text[at + start.len()..].starts_with([',', '}']))
}

fn write_conf(conf: &Path, files: &[(&str, Settings)]) -> Result<()> {
    for name in WEBAPPS {
        let folder = conf.join("webapps").join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(conf.join("log4j.properties"), LOG)?;
    for (name, settings) in files {
        let mut text = "<?xml version=\"1.0\"?>\n<configuration>\n".to_owned();
        for (name, value) in settings {
            text += &format!("  <property><name>{name}</name><value>{}</value></property>\n", escaped(value));
        }
        text += "</configuration>\n";
        let file = conf.join(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn java(name: &str, conf: &Path, lib: &Path, class: &str, arguments: &[&str]) -> Process {
    let mut command: Vec<String> = [
        "java",
        "-Xmx512m",
        // Several of them share few cores.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Djava.net.preferIPv4Stack=true",
        "--add-opens=java.base/java.lang=ALL-UNNAMED",
        "-cp",
    ]
    .map(str::to_owned)
    .to_vec();
    command.push(format!("{}:{}/*", conf.display(), lib.display()));
    command.push(class.to_owned());
    command.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    Process { name: name.to_owned(), command }
}

#[cfg(test)]
mod tests {
    use super::{escaped, has};

    #[test]
    fn a_field_counts_with_its_whole_value() {
        let json = "{\"a\": {\"activeNodes\" : 12,\"x\":1 }}";
        assert!(has(json, "activeNodes", "12") && has(json, "x", "1"));
        assert!(!has(json, "activeNodes", "1"));
    }

    #[test]
    fn values_are_text_of_xml() {
        assert_eq!(escaped("a<b>&c"), "a&lt;b&gt;&amp;c");
    }
}
