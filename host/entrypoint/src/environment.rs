//! What a process writes into its log first: who it is, where it runs, how it
//! was started, and with which configuration. Secrets are hidden.

use heddle_model::config::{Configuration, Origin, is_secret};
use heddle_rpc::grpc::BUILD_VERSION;
use tracing::info;

/// What stands for a secret.
const HIDDEN: &str = "******";

/// A process, as its log introduces it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Of the role, such as `standalonesession`.
    pub name: &'static str,
    pub arguments: Vec<String>,
    /// Those that are Heddle's.
    pub variables: Vec<(String, String)>,
}

impl Environment {
    /// Of this process.
    pub fn of_process(name: &'static str) -> Self {
        let variables = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .filter(|(name, _)| name.starts_with("HEDDLE_"));
        let arguments = std::env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned());
        Self { name, arguments: arguments.collect(), variables: variables.collect() }
    }

    pub fn log(&self, configuration: &Configuration) {
        info!("--------------------------------------------------------------------------------");
        for line in self.lines(configuration) {
            info!("{line}");
        }
        info!("--------------------------------------------------------------------------------");
    }

    fn lines(&self, configuration: &Configuration) -> Vec<String> {
        let unknown = || "unknown".to_owned();
        let program = std::env::current_exe().map_or_else(|_| unknown(), |path| path.display().to_string());
        let mut lines = vec![
            format!("starting {} (version {BUILD_VERSION})", self.name),
            format!("process: {} on {}", std::process::id(), host_name()),
            format!("user: {}", std::env::var("USER").unwrap_or_else(|_| unknown())),
            format!("system: {} {}", std::env::consts::OS, std::env::consts::ARCH),
            format!("processors: {}", std::thread::available_parallelism().map_or(1, usize::from)),
            format!("program: {program}"),
            format!("arguments: {}", shown_arguments(&self.arguments)),
        ];
        for (name, value) in &self.variables {
            lines.push(format!("environment: {name}={}", if is_secret(name) { HIDDEN } else { value }));
        }
        for entry in configuration.entries().filter(|entry| entry.origin != Origin::Default) {
            let value = if entry.info.is_secret() { HIDDEN } else { entry.value.unwrap_or_default() };
            lines.push(format!("configuration: {}={value} ({})", entry.info.key, entry.origin));
        }
        lines
    }
}

/// `-Dkey=value` and what stands behind a secret's name is hidden.
fn shown_arguments(arguments: &[String]) -> String {
    if arguments.is_empty() {
        return "(none)".to_owned();
    }
    let shown = arguments.iter().map(|argument| match argument.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}={HIDDEN}"),
        _ => argument.clone(),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// The name of this machine.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = if name.trim().is_empty() { std::env::var("HOSTNAME").unwrap_or_default() } else { name };
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden() {
        let environment = Environment {
            name: "standalonesession",
            arguments: ["start-foreground", "-Dparallelism.default=2", "-Ds3.secret-key=abc"]
                .map(str::to_owned)
                .to_vec(),
            variables: vec![("HEDDLE_CONFIG_SOME_PASSWORD".to_owned(), "abc".to_owned())],
        };
        let mut configuration = Configuration::new();
        configuration.set("parallelism.default", "2", Origin::DynamicProperty).unwrap();
        let text = environment.lines(&configuration).join("\n");
        assert!(!text.contains("abc"), "{text}");
        for line in [
            "arguments: start-foreground -Dparallelism.default=2 -Ds3.secret-key=******",
            "environment: HEDDLE_CONFIG_SOME_PASSWORD=******",
            "configuration: parallelism.default=2 (-D)",
        ] {
            assert!(text.lines().any(|l| l == line), "`{line}` expected in:\n{text}");
        }
    }
}
