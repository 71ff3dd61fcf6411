//! The cluster on a network that a command talks to: its address, a client, and
//! what is said when the connection is lost.

use crate::arguments::{ClusterArguments, ConfigurationArguments};
use crate::screen::Screen;
use crate::summary::duration;
use crate::{config_command, logging, target};
use heddle_client::{ClusterClient, Connection};
use heddle_model::config::value::{HighAvailabilityType, Target};
use heddle_model::config::{Configuration, options as o};
use heddle_model::failure::{ErrorCode, Failure};
use heddle_model::id::JobId;
use std::sync::Arc;
use std::time::Duration;

impl Connection for Screen {
    fn lost(&self, cause: &str, patience: Duration) {
        let patience = duration(patience);
        self.note(&format!(
            "the connection to the JobManager is lost ({cause}); looking for it for {patience}"
        ));
    }

    fn found(&self, address: &str) {
        self.note(&format!("connected again, to {address}"));
    }
}

/// What `-m` sets.
///
/// # Errors
/// H1201: it is not `host:port` or a host.
pub fn options_of(jobmanager: Option<&str>) -> Result<Vec<(&'static str, String, &'static str)>, Failure> {
    let Some(text) = jobmanager else { return Ok(Vec::new()) };
    let wrong = || {
        let message =
            format!("`{text}` of -m is not the address of a JobManager; expected HOST:PORT or HOST");
        Failure::new(ErrorCode::ConfigurationInvalid, message)
    };
    let bracketed = |host: &str| host.starts_with('[') && host.ends_with(']');
    let (host, port) = match text.rsplit_once(':') {
        // `::1` alone has no port.
        Some((host, port)) if bracketed(host) || !host.contains(':') => (host, Some(port)),
        _ => (text, None),
    };
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        return Err(wrong());
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut options = vec![
        (o::JOB_MANAGER_RPC_ADDRESS.key(), host.to_owned(), "-m"),
        // It is asked there, not looked for where the leaders of a cluster are.
        (o::HIGH_AVAILABILITY.key(), HighAvailabilityType::None.word().to_owned(), "-m"),
    ];
    if let Some(port) = port {
        let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        options.push((o::JOB_MANAGER_RPC_PORT.key(), port.to_string(), "-m"));
    }
    Ok(options)
}

/// The configuration of a command that talks to a cluster; logging starts.
pub fn load(arguments: &ClusterArguments, command: &str) -> Result<Configuration, Failure> {
    let further = options_of(arguments.jobmanager.as_deref())?;
    let given = ConfigurationArguments {
        dynamic: arguments.dynamic.clone(),
        target: arguments.target.clone(),
        ..Default::default()
    };
    let mut configuration = config_command::load_with(&given, further)?;
    if arguments.jobmanager.is_none() {
        configuration = target::choose(configuration)?;
        let is_known = configuration.is_set(&o::YARN_APPLICATION_ID);
        match configuration.get(&o::EXECUTION_TARGET) {
            Target::YarnSession => configuration = target::of_session(&configuration)?,
            Target::YarnApplication | Target::YarnPerJob if is_known => {
                configuration = target::of_session(&configuration)?;
            }
            _ => {}
        }
    }
    logging::start(&configuration, command, arguments.verbose, None)?;
    Ok(configuration)
}

/// A client of the cluster; the screen tells when it is lost.
pub fn client(configuration: &Configuration, screen: &Arc<Screen>) -> Result<ClusterClient, Failure> {
    ClusterClient::remote(configuration, Arc::<Screen>::clone(screen))
}

/// What a user wrote as a job's id.
///
/// # Errors
/// H3102: it is none.
pub fn job_id(text: &str) -> Result<JobId, Failure> {
    text.trim().parse().map_err(|error| {
        let message = format!("{error}, as `heddle list` shows them");
        Failure::new(ErrorCode::NoSuchJob, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        let told = |text: &str| match options_of(Some(text)) {
            Ok(options) => options.into_iter().map(|(_, value, _)| value).collect::<Vec<_>>().join(" "),
            Err(failure) => failure.code.text().to_owned(),
        };
        for (text, expected) in [
            ("a.b:6123", "a.b NONE 6123"),
            ("a.b", "a.b NONE"),
            ("[::1]:7", "::1 NONE 7"),
            ("[::1]", "::1 NONE"),
            ("::1", "::1 NONE"),
            ("a:0", "H1201"),
            ("a:x", "H1201"),
            ("a:66666", "H1201"),
            (":7", "H1201"),
            ("", "H1201"),
            ("http://a:7", "H1201"),
            ("me@a:7", "H1201"),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
        assert_eq!(options_of(None), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_id_is_told() {
        assert_eq!(job_id(" 000000000000000000000000000000ff\n").unwrap(), JobId(255));
        assert_eq!(
            job_id("word-count").unwrap_err().message,
            "`word-count` is not an id: expected 32 hexadecimal digits, as `heddle list` shows them"
        );
    }
}
