//! Against a real ResourceManager and NodeManager: `HEDDLE_TEST_YARN` names the
//! folder of their configuration. `cargo xtask test` starts them;
//! `cargo xtask servers up yarn` does so by hand.

mod applications;
mod driver;
mod masters;

use heddle_yarn::applications::{Applications, Submission};
use heddle_yarn::configuration::{self, Configuration, Environment, Service};
use heddle_yarn::id::ApplicationId;
use heddle_yarn::launch::Launch;
use heddle_yarn::rpc::{Login, Options};
use heddle_yarn::types::{ApplicationReport, Resource};
use heddle_yarn::user;
use std::future::Future;
use std::time::{Duration, Instant};

/// Nothing here takes longer; servers share few cores with other tests.
const SOON: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(50);

/// The configuration of the servers; none, loudly, if there are none.
pub fn configuration() -> Option<Configuration> {
    let Some(folder) = std::env::var_os("HEDDLE_TEST_YARN") else {
        eprintln!("SKIPPED: HEDDLE_TEST_YARN names no real YARN; `cargo xtask servers up yarn` starts one");
        return None;
    };
    let folder = folder.to_string_lossy().into_owned();
    let environment = Environment::from([("HADOOP_CONF_DIR".to_owned(), folder)]);
    Some(Configuration::load(&environment).unwrap())
}

pub fn applications(configuration: &Configuration) -> Applications {
    let servers = configuration::resource_managers(configuration, Service::Applications).unwrap();
    let login = Login::Simple { user: user::name(&Environment::new()) };
    Applications::new(servers, login, Options::default())
}

/// An application of one container that runs a shell script.
pub fn script(id: ApplicationId, script: &str) -> Submission {
    Submission {
        id,
        name: "heddle-test".to_owned(),
        application_type: "Heddle".to_owned(),
        queue: "default".to_owned(),
        priority: None,
        tags: vec!["test".to_owned()],
        resource: Resource { memory_mib: 256, vcores: 1 },
        node_label: None,
        attempts_max: 1,
        failures_validity: None,
        keep_containers: false,
        launch: Launch { commands: vec![script.to_owned()], ..Launch::default() },
        rolled_logs_include: None,
        rolled_logs_exclude: None,
    }
}

/// Waits until something is there.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < SOON, "{what} did not happen within {SOON:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits for a report.
pub async fn report(
    applications: &Applications,
    id: ApplicationId,
    what: &str,
    is_it: impl Fn(&ApplicationReport) -> bool,
) -> ApplicationReport {
    until(what, async || Some(applications.report(id).await.unwrap()).filter(&is_it)).await
}
