//! Hadoop's configuration, as YARN needs it: where the ResourceManager's
//! services are, one, or several of which one is active.

use crate::rpc::Server;

pub use heddle_filesystem::hadoop::{Configuration, Environment, Error, environment};

const AUTHENTICATION: &str = "hadoop.security.authentication";

/// Reads the configuration. There must be a `yarn-site.xml`.
pub fn load(environment: &Environment) -> Result<Configuration, Error> {
    let configuration = Configuration::load(environment)?;
    configuration.require("yarn-site.xml")?;
    // No server of such a cluster would take the first call.
    if configuration.get(AUTHENTICATION).is_some_and(|way| !way.eq_ignore_ascii_case("simple")) {
        return Err(
            configuration.wrong(AUTHENTICATION, "`simple` where Heddle is used, which has no Kerberos yet")
        );
    }
    Ok(configuration)
}

/// A service of the ResourceManager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// For clients.
    Applications,
    /// For application masters.
    Masters,
    /// Its web pages.
    Web,
}

impl Service {
    fn key(self) -> &'static str {
        match self {
            Service::Applications => "yarn.resourcemanager.address",
            Service::Masters => "yarn.resourcemanager.scheduler.address",
            Service::Web => "yarn.resourcemanager.webapp.address",
        }
    }

    fn port(self) -> u16 {
        match self {
            Service::Applications => 8032,
            Service::Masters => 8030,
            Service::Web => 8088,
        }
    }
}

const HOSTNAME: &str = "yarn.resourcemanager.hostname";
const IDS: &str = "yarn.resourcemanager.ha.rm-ids";
const ENABLED: &str = "yarn.resourcemanager.ha.enabled";

/// The servers of a service, at least one; with high availability in the order
/// of `yarn.resourcemanager.ha.rm-ids`.
pub fn resource_managers(configuration: &Configuration, service: Service) -> Result<Vec<Server>, Error> {
    if !configuration.bool(ENABLED, false)? {
        return Ok(vec![resource_manager(configuration, service, "")?]);
    }
    let ids = configuration.list(IDS);
    if ids.is_empty() {
        let reason = format!("`{ENABLED}` is true and names no ResourceManager");
        return Err(Error::Missing { key: IDS.to_owned(), reason });
    }
    ids.iter().map(|id| resource_manager(configuration, service, &format!(".{id}"))).collect()
}

fn resource_manager(configuration: &Configuration, service: Service, suffix: &str) -> Result<Server, Error> {
    let key = format!("{}{suffix}", service.key());
    if configuration.get(&key).is_some_and(|address| !address.is_empty()) {
        return server(configuration, &key, service.port());
    }
    let hostname = format!("{HOSTNAME}{suffix}");
    match configuration.get(&hostname).filter(|host| !host.is_empty()) {
        Some(host) => Ok(Server { host, port: service.port() }),
        None => {
            let reason = format!("`{key}` is not set either; one of them says where the ResourceManager is");
            Err(Error::Missing { key: hostname, reason })
        }
    }
}

fn server(configuration: &Configuration, key: &str, port: u16) -> Result<Server, Error> {
    let value = configuration.get(key).unwrap_or_default();
    let parsed = match value.rsplit_once(':') {
        Some((host, port)) => port.parse().ok().map(|port| Server { host: host.to_owned(), port }),
        None => Some(Server { host: value.clone(), port }),
    };
    let bare = |server: Server| {
        let host = server.host.trim_start_matches('[').trim_end_matches(']').to_owned();
        (!host.is_empty()).then_some(Server { host, ..server })
    };
    parsed.and_then(bare).ok_or_else(|| configuration.wrong(key, "an address `host:port`"))
}
