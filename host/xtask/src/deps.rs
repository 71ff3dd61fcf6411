//! Directions of dependencies: model ← brains ← shells ← edges, and who may
//! know what. Read from `cargo metadata`.

use crate::workspace;
use anyhow::bail;
use serde_json::Value;
use std::collections::BTreeMap;

/// A crate may depend on crates of a lower layer, and of its own.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &["heddle-model"]),
    ("brains", &["heddle-scheduler", "heddle-slot-manager"]),
    ("files", &["heddle-filesystem"]),
    ("plumbing", &["heddle-rpc", "heddle-blob", "heddle-ha"]),
    ("data plane", &["heddle-wasm", "heddle-state", "heddle-exchange", "heddle-connectors"]),
    (
        "shells",
        &[
            "heddle-task",
            "heddle-yarn",
            "heddle-task-executor",
            "heddle-job-master",
            "heddle-resource-manager",
            "heddle-dispatcher",
        ],
    ),
    ("edges", &["heddle-entrypoint", "heddle-client", "heddle-cli"]),
];

/// The data plane's crates do not know each other, nor any role.
const DATA_PLANE: &str = "data plane";

/// External crates, and the only ones that may know them.
const ONLY: &[(&str, &[&str])] = &[
    ("wasmtime", &["heddle-wasm"]),
    ("cranelift", &["heddle-wasm"]),
    ("wit-component", &["heddle-wasm"]),
    ("wasmparser", &["heddle-wasm"]),
    ("tonic", &["heddle-rpc"]),
    ("prost", &["heddle-rpc", "heddle-yarn"]),
    ("hdfs-native", &["heddle-filesystem"]),
    ("roxmltree", &["heddle-filesystem"]),
    ("clap", &["heddle-cli"]),
    ("serde-saphyr", &["heddle-client"]),
    (
        "anyhow",
        &[
            "heddle-cli",
            "xtask",
            "heddle-tests",
            "heddle-fuzz",
            "heddle",
            "bench-drive",
            "bench-exchange",
            "bench-native",
            "bench-probe",
        ],
    ),
];

/// What makes code async, random or full of effects.
const EFFECTS: &[&str] =
    &["tokio", "tokio-util", "async-trait", "futures", "rand", "rustix", "tempfile", "tracing-subscriber"];

/// Crates in which none of these may be.
const PURE: &[&str] = &["heddle-model", "heddle-scheduler", "heddle-slot-manager"];

pub fn run() -> anyhow::Result<()> {
    let graph = read(&workspace::metadata(&["--no-deps"])?);
    let complaints = check(&graph);
    if complaints.is_empty() {
        eprintln!("deps: {} crates", graph.len());
        return Ok(());
    }
    bail!("{} forbidden dependencies\n{}", complaints.len(), complaints.join("\n"))
}

/// Crate → its direct dependencies; those for its tests only are left out.
type Graph = BTreeMap<String, Vec<String>>;

fn read(metadata: &Value) -> Graph {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let names = dependencies
                .filter(|dependency| dependency["kind"].is_null())
                .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
                .collect();
            (package["name"].as_str().unwrap_or_default().to_owned(), names)
        })
        .collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|(_, members)| members.contains(&name))
}

fn check(graph: &Graph) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, dependencies) in graph {
        for dependency in dependencies {
            if let Some(reason) = forbidden(name, dependency) {
                complaints.push(format!("{name} → {dependency}: {reason}"));
            }
        }
    }
    complaints
}

fn forbidden(name: &str, dependency: &str) -> Option<String> {
    for (external, allowed) in ONLY {
        let is_it = dependency == *external || dependency.starts_with(&format!("{external}-"));
        let is_clap_of_cli = *external == "clap" && dependency.starts_with("clap_");
        if (is_it || is_clap_of_cli) && !allowed.contains(&name) {
            return Some(format!("only {} may know {external}", allowed.join(", ")));
        }
    }
    if PURE.contains(&name) && EFFECTS.contains(&dependency) {
        return Some("plain data and brains have no effects: the caller passes in what they need".into());
    }
    if name == "heddle" || name == "heddle-macros" {
        let host = layer(dependency).is_some();
        return host.then(|| "the SDK runs in the guest and knows nothing of the host".into());
    }
    let own = layer(name)?;
    let Some(other) = layer(dependency) else {
        let unknown = dependency == "xtask" || dependency == "heddle-tests" || dependency == "heddle";
        return unknown.then(|| "the host does not depend on tools, tests or the SDK".into());
    };
    if other > own {
        return Some(format!("{} must not know {}", LAYERS[own].0, LAYERS[other].0));
    }
    if other == own && LAYERS[own].0 == DATA_PLANE {
        return Some("crates of the data plane do not know each other; a TaskExecutor wires them".into());
    }
    if LAYERS[own].0 == DATA_PLANE && LAYERS[other].0 == "plumbing" {
        return Some("the data plane does not know roles".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (name, dependency) in edges {
            graph.entry((*name).to_owned()).or_default().push((*dependency).to_owned());
        }
        graph
    }

    #[test]
    fn good_edges_pass() {
        let good = graph(&[
            ("heddle-cli", "heddle-client"),
            ("heddle-cli", "clap_complete"),
            ("heddle-client", "heddle-dispatcher"),
            ("heddle-dispatcher", "heddle-job-master"),
            ("heddle-job-master", "heddle-scheduler"),
            ("heddle-scheduler", "heddle-model"),
            ("heddle-wasm", "wasmtime-wasi"),
            ("heddle-wasm", "tokio"),
            ("heddle", "heddle-macros"),
        ]);
        assert_eq!(check(&good), Vec::<String>::new());
    }

    #[test]
    fn each_bad_edge_is_seen() {
        for (name, dependency) in [
            ("heddle-model", "heddle-scheduler"),
            ("heddle-scheduler", "heddle-rpc"),
            ("heddle-dispatcher", "heddle-client"),
            ("heddle-state", "heddle-exchange"),
            ("heddle-exchange", "heddle-rpc"),
            ("heddle-task-executor", "wasmtime"),
            ("heddle-client", "wasmtime-wasi"),
            ("heddle-slot-manager", "tokio"),
            ("heddle-model", "rand"),
            ("heddle-client", "clap"),
            ("heddle", "heddle-model"),
            ("heddle-wasm", "heddle"),
            ("heddle-rpc", "anyhow"),
        ] {
            let complaints = check(&graph(&[(name, dependency)]));
            assert_eq!(complaints.len(), 1, "{name} → {dependency}: {complaints:?}");
        }
    }

    #[test]
    fn metadata_is_read_without_test_dependencies() {
        let metadata = serde_json::json!({ "packages": [{
            "name": "heddle-model",
            "dependencies": [
                { "name": "serde", "kind": null },
                { "name": "tokio", "kind": "dev" },
            ],
        }] });
        assert_eq!(read(&metadata), graph(&[("heddle-model", "serde")]));
    }
}
