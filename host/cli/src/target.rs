//! Where a command's cluster is, asked in Flink's order: the target that was
//! named, then the session on YARN that is known, then the default.

use crate::request::block_on;
use crate::screen::say;
use heddle_client::yarn::{Remembered, YarnClient, check_hadoop};
use heddle_model::config::value::Target;
use heddle_model::config::{Configuration, Origin, options as o};
use heddle_model::failure::Failure;

/// The configuration with the target that is in force, and the session that is
/// remembered if that is the target.
///
/// # Errors
/// H1201: the target is a session, and what is remembered of one is wrong. If
/// the target is another, that is but a warning, and so is a configuration of
/// Hadoop that cannot be read.
pub fn choose(configuration: Configuration) -> Result<Configuration, Failure> {
    let configuration = with_session(configuration)?;
    if matches!(configuration.get(&o::EXECUTION_TARGET), Target::Local | Target::Remote)
        && let Err(failure) = check_hadoop()
    {
        say(&format!("warning: neither YARN nor HDFS can be used: {failure}\n"));
    }
    Ok(configuration)
}

fn with_session(mut configuration: Configuration) -> Result<Configuration, Failure> {
    let is_named = configuration.is_set(&o::EXECUTION_TARGET);
    if is_named && configuration.get(&o::EXECUTION_TARGET) != Target::YarnSession {
        return Ok(configuration);
    }
    let session = Target::YarnSession.word();
    if configuration.is_set(&o::YARN_APPLICATION_ID) {
        let origin = configuration.origin(&o::YARN_APPLICATION_ID);
        if !is_named {
            configuration.set(o::EXECUTION_TARGET.key(), session, origin)?;
        }
        return Ok(configuration);
    }
    let remembered = Remembered::of(&configuration);
    match remembered.read() {
        Ok(None) => {}
        Ok(Some(id)) => {
            let origin = Origin::File(remembered.file().display().to_string(), None);
            configuration.set(o::YARN_APPLICATION_ID.key(), &id.to_string(), origin.clone())?;
            if !is_named {
                configuration.set(o::EXECUTION_TARGET.key(), session, origin)?;
            }
        }
        Err(failure) if is_named => return Err(failure),
        Err(failure) => say(&format!("warning: {failure}\n")),
    }
    Ok(configuration)
}

/// The configuration of a client of the session that is configured.
pub fn of_session(configuration: &Configuration) -> Result<Configuration, Failure> {
    block_on(async {
        let (cluster, report) = YarnClient::new(configuration)?.attach().await?;
        cluster.configuration(&report)
    })
}
