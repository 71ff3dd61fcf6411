//! Where the ResourceManager's services are: one, or several of which one is
//! active.

use crate::configuration::{Configuration, Error};
use crate::rpc::Server;

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

impl Configuration {
    /// The servers of a service, at least one; with high availability in the
    /// order of `yarn.resourcemanager.ha.rm-ids`.
    pub fn resource_managers(&self, service: Service) -> Result<Vec<Server>, Error> {
        if !self.bool(ENABLED, false)? {
            return Ok(vec![self.resource_manager(service, "")?]);
        }
        let ids = self.list(IDS);
        if ids.is_empty() {
            let reason = format!("`{ENABLED}` is true and names no ResourceManager");
            return Err(Error::Missing { key: IDS.to_owned(), reason });
        }
        ids.iter().map(|id| self.resource_manager(service, &format!(".{id}"))).collect()
    }

    fn resource_manager(&self, service: Service, suffix: &str) -> Result<Server, Error> {
        let key = format!("{}{suffix}", service.key());
        if self.get(&key).is_some_and(|address| !address.is_empty()) {
            return self.server(&key, service.port());
        }
        let hostname = format!("{HOSTNAME}{suffix}");
        match self.get(&hostname).filter(|host| !host.is_empty()) {
            Some(host) => Ok(Server { host, port: service.port() }),
            None => {
                let reason =
                    format!("`{key}` is not set either; one of them says where the ResourceManager is");
                Err(Error::Missing { key: hostname, reason })
            }
        }
    }

    fn server(&self, key: &str, port: u16) -> Result<Server, Error> {
        let value = self.get(key).unwrap_or_default();
        let parsed = match value.rsplit_once(':') {
            Some((host, port)) => port.parse().ok().map(|port| Server { host: host.to_owned(), port }),
            None => Some(Server { host: value.clone(), port }),
        };
        let bare = |server: Server| {
            let host = server.host.trim_start_matches('[').trim_end_matches(']').to_owned();
            (!host.is_empty()).then_some(Server { host, ..server })
        };
        parsed.and_then(bare).ok_or_else(|| self.wrong(key, "an address `host:port`"))
    }
}
