//! What an application master asks of the ResourceManager and of a node, with
//! the tokens that they hand out.

use crate::{applications, configuration, report, script, until};
use heddle_yarn::applications::Applications;
use heddle_yarn::configuration::{Configuration, Service};
use heddle_yarn::id::{ApplicationId, ContainerId};
use heddle_yarn::launch::Launch;
use heddle_yarn::masters::{Allocated, Ask, Masters};
use heddle_yarn::nodes::Node;
use heddle_yarn::rpc::{Error, Options};
use heddle_yarn::token::{self, Credentials, Token};
use heddle_yarn::types::{ApplicationState, FinalStatus, NodeId, Resource};
use std::collections::BTreeMap;
use std::time::Instant;
use tempfile::TempDir;

/// A value that a shell would change.
const WORD: &str = "heddle & \"co\" $HOME `x` \\";

/// An application whose container hands its tokens to the test and waits; the
/// test is its master.
pub struct Master {
    pub id: ApplicationId,
    pub folder: TempDir,
    masters: Masters,
    pub token: Token,
    response_id: i32,
    node_tokens: BTreeMap<NodeId, Token>,
}

impl Master {
    pub async fn start(configuration: &Configuration, applications: &Applications) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().display();
        let id = applications.new_application().await.unwrap().id;
        let command = format!(
            "cp ${} {place}/part && mv {place}/part {place}/tokens; \
             while [ -d {place} -a ! -e {place}/end ]; do sleep 0.1; done",
            token::FILE_VARIABLE
        );
        applications.submit(script(id, &command)).await.unwrap();
        let file = until("the tokens", async || std::fs::read(folder.path().join("tokens")).ok()).await;
        let token = Credentials::read(&file).unwrap().of_kind(token::AM_RM).unwrap().clone();
        let servers = configuration::resource_managers(configuration, Service::Masters).unwrap();
        let masters = Masters::new(servers, token.clone(), Options::default());
        Self { id, folder, masters, token, response_id: 0, node_tokens: BTreeMap::new() }
    }

    async fn heartbeat(&mut self, asks: Vec<Ask>, releases: &[ContainerId]) -> Allocated {
        let allocated = self.masters.allocate(self.response_id, 0.5, asks, releases).await.unwrap();
        self.response_id = allocated.response_id;
        self.node_tokens.extend(allocated.node_tokens.iter().cloned());
        allocated
    }

    /// Heartbeats until `take` has found all that it looks for.
    async fn heartbeat_until(&mut self, what: &str, mut take: impl FnMut(Allocated) -> bool) {
        let began = Instant::now();
        loop {
            let allocated = self.heartbeat(Vec::new(), &[]).await;
            if take(allocated) {
                return;
            }
            assert!(began.elapsed() < crate::SOON, "{what} did not happen within {:?}", crate::SOON);
            tokio::time::sleep(crate::POLL).await;
        }
    }

    pub fn end(&self) {
        std::fs::write(self.folder.path().join("end"), "").unwrap();
    }
}

#[tokio::test]
async fn a_master_gets_containers_starts_and_stops_them_and_finishes() {
    let Some(configuration) = configuration() else { return };
    let applications = applications(&configuration);
    let mut master = Master::start(&configuration, &applications).await;
    let error = master.masters.allocate(0, 0.0, Vec::new(), &[]).await.unwrap_err();
    assert!(error.is_remote("ApplicationMasterNotRegisteredException"), "{error}");

    let registered = master.masters.register("127.0.0.1", 4242, "http://127.0.0.1:4243").await.unwrap();
    assert_eq!(registered.queue, "root.default");
    assert!(registered.containers.is_empty());
    let running = applications.report(master.id).await.unwrap();
    assert_eq!(running.state, ApplicationState::Running);
    assert_eq!((running.host.as_deref(), running.rpc_port), (Some("127.0.0.1"), Some(4242)));
    assert_eq!(running.original_tracking_url, "http://127.0.0.1:4243");

    let resource = Resource { memory_mib: 128, vcores: 1 };
    let ask = |count| vec![Ask { priority: 1, resource, count, node_label: None }];
    let mut containers = master.heartbeat(ask(3), &[]).await.allocated;
    let taken = |allocated: Allocated| {
        containers.extend(allocated.allocated);
        containers.len() >= 3
    };
    master.heartbeat_until("the hand-out of three containers", taken).await;
    assert_eq!(containers.len(), 3);
    assert!(containers.iter().all(|container| container.priority == 1 && container.resource == resource));

    let nodes: Vec<Node> = containers
        .iter()
        .map(|container| {
            Node::new(&container.node, master.node_tokens[&container.node].clone(), Options::default())
        })
        .collect();
    let place = master.folder.path().display().to_string();
    let launch = |command: String| Launch {
        environment: BTreeMap::from([("WORD".to_owned(), WORD.to_owned())]),
        commands: vec![command],
        ..Launch::default()
    };
    // The first ends by itself, the second is stopped, the third never starts.
    nodes[0].start(&containers[0], launch(format!("printenv WORD > {place}/word; exit 7"))).await.unwrap();
    nodes[1].start(&containers[1], launch(format!("echo > {place}/up; exec sleep 600"))).await.unwrap();
    until("a start", async || master.folder.path().join("up").exists().then_some(())).await;
    let status = nodes[1].status(containers[1].id).await.unwrap();
    assert!(!status.is_complete, "{status:?}");
    nodes[1].stop(containers[1].id).await.unwrap();

    let mut completed = master.heartbeat(ask(0), &[containers[2].id]).await.completed;
    let ended = |allocated: Allocated| {
        completed.extend(allocated.completed);
        completed.len() >= 3
    };
    master.heartbeat_until("the end of three containers", ended).await;
    let exits: BTreeMap<ContainerId, i32> =
        completed.iter().map(|status| (status.id, status.exit_status)).collect();
    assert_eq!(exits[&containers[0].id], 7, "{completed:?}");
    // Ended by a signal; given back.
    assert!([143, 137, -105].contains(&exits[&containers[1].id]), "{completed:?}");
    assert_eq!(exits[&containers[2].id], -100, "{completed:?}");
    let word = std::fs::read_to_string(master.folder.path().join("word")).unwrap();
    assert_eq!(word.trim_end(), WORD);

    let error = nodes[1].start(&containers[1], launch("true".to_owned())).await.unwrap_err();
    assert!(error.remote().is_some(), "{error}");

    let finish = async || {
        master.masters.finish(FinalStatus::AppSucceeded, "all is well", "").await.unwrap().then_some(())
    };
    until("the end", finish).await;
    master.end();
    let end =
        report(&applications, master.id, "the end", |report| report.state == ApplicationState::Finished)
            .await;
    assert_eq!(end.final_status, FinalStatus::AppSucceeded);
    assert_eq!(end.diagnostics, "all is well");
}

/// Only where keys are rolled soon: by default that is once a day.
#[tokio::test]
async fn a_token_is_renewed_while_its_master_lives() {
    let Some(configuration) = configuration() else { return };
    if configuration.get("yarn.resourcemanager.am-rm-tokens.master-key-rolling-interval-secs").is_none() {
        return;
    }
    let applications = applications(&configuration);
    let mut master = Master::start(&configuration, &applications).await;
    master.masters.register("127.0.0.1", 4242, "").await.unwrap();
    let mut renewed = None;
    let is_there = |allocated: Allocated| {
        renewed = allocated.token;
        renewed.is_some()
    };
    master.heartbeat_until("another token", is_there).await;
    // The same connection goes on with it; so does one that is opened anew.
    master.heartbeat(Vec::new(), &[]).await;
    let servers = configuration::resource_managers(&configuration, Service::Masters).unwrap();
    assert_ne!(renewed.as_ref(), Some(&master.token));
    master.masters = Masters::new(servers, renewed.unwrap(), Options::default());
    master.heartbeat(Vec::new(), &[]).await;
    assert!(master.masters.finish(FinalStatus::AppSucceeded, "", "").await.is_ok());
    master.end();
}

#[tokio::test]
async fn a_token_with_another_password_is_refused() {
    let Some(configuration) = configuration() else { return };
    let applications = applications(&configuration);
    let master = Master::start(&configuration, &applications).await;
    let forged = Token::new(master.token.identifier().to_vec(), vec![7; 20], token::AM_RM, "");
    let servers = configuration::resource_managers(&configuration, Service::Masters).unwrap();
    let error = Masters::new(servers, forged, Options::default()).register("h", 1, "").await.unwrap_err();
    assert!(matches!(error, Error::Credentials { .. }), "{error}");
    master.end();
    report(&applications, master.id, "the end", |report| report.state == ApplicationState::Failed).await;
}

/// Only where that is soon: by default it is ten minutes.
#[tokio::test]
async fn a_container_that_is_started_too_late_is_refused_for_its_token() {
    let Some(configuration) = configuration() else { return };
    if configuration.get("yarn.resourcemanager.rm.container-allocation.expiry-interval-ms").is_none() {
        return;
    }
    let applications = applications(&configuration);
    let mut master = Master::start(&configuration, &applications).await;
    master.masters.register("127.0.0.1", 4242, "").await.unwrap();
    let resource = Resource { memory_mib: 128, vcores: 1 };
    let ask = |count| vec![Ask { priority: 1, resource, count, node_label: None }];
    let mut given = master.heartbeat(ask(1), &[]).await.allocated;
    let taken = |allocated: Allocated| {
        given.extend(allocated.allocated);
        !given.is_empty()
    };
    master.heartbeat_until("the hand-out of a container", taken).await;
    let container = given.remove(0);
    let mut completed = master.heartbeat(ask(0), &[]).await.completed;
    let ended = |allocated: Allocated| {
        completed.extend(allocated.completed);
        !completed.is_empty()
    };
    master.heartbeat_until("the end of a container that never started", ended).await;
    assert_eq!((completed[0].id, completed[0].exit_status), (container.id, -100), "{completed:?}");
    let node = Node::new(&container.node, master.node_tokens[&container.node].clone(), Options::default());
    let error = node.start(&container, Launch::default()).await.unwrap_err();
    assert!(error.to_string().contains("This token is expired"), "{error}");
    master.end();
}
