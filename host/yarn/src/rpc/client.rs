//! A client of one service that may run on several servers, one of which is
//! active: finds it, calls it, tries again as long as that may help.

use crate::messages::rpc::RequestHeader;
use crate::rpc::connection::{Connection, Login};
use crate::rpc::error::{Error, Retry};
use prost::Message;
use std::fmt;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// Between two rounds over all servers.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A service's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Its class in Hadoop.
    pub class: &'static str,
    /// Who serves it, for messages.
    pub server: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    /// For a connection and its login.
    pub connect: Duration,
    /// A silent server is pinged so often.
    pub ping: Duration,
    /// For an answer, once a server has the call.
    pub answer: Duration,
    /// How long servers that are not there, or not active, are tried.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            ping: Duration::from_secs(10),
            answer: Duration::from_secs(60),
            patience: Duration::from_secs(60),
        }
    }
}

/// Calls methods of a service, one after the other: a call waits for the one
/// before it. All of YARN's calls may be repeated.
pub struct Client {
    protocol: Protocol,
    servers: Vec<Server>,
    options: Options,
    state: Mutex<State>,
}

struct State {
    login: Login,
    client_id: [u8; 16],
    next_call: i32,
    /// The server that answered last.
    server: usize,
    connection: Option<Connection>,
}

impl Client {
    /// There is at least one server.
    pub fn new(protocol: Protocol, servers: Vec<Server>, login: Login, options: Options) -> Self {
        let client_id = rand::random();
        let state = State { login, client_id, next_call: 0, server: 0, connection: None };
        Self { protocol, servers, options, state: Mutex::new(state) }
    }

    /// From the next call on, another identity: a token was renewed.
    pub async fn set_login(&self, login: Login) {
        let mut state = self.state.lock().await;
        if state.login != login {
            state.login = login;
            state.connection = None;
        }
    }

    pub async fn call<R: Message + Default>(&self, method: &str, request: &impl Message) -> Result<R, Error> {
        let mut state = self.state.lock().await;
        let call_id = state.next_call;
        state.next_call = state.next_call.wrapping_add(1).max(0);
        let header = RequestHeader {
            method_name: method.to_owned(),
            declaring_class_protocol_name: self.protocol.class.to_owned(),
            client_protocol_version: 1,
        };
        let deadline = Instant::now() + self.options.patience;
        let mut pause = PAUSE_FIRST;
        let mut last: Vec<Option<String>> = vec![None; self.servers.len()];
        for retry_count in 0.. {
            // An idle connection may have been closed by the server.
            let was_open = state.connection.is_some();
            let error = match self.attempt(&mut state, &header, call_id, retry_count, request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.retry() == Retry::No {
                return Err(error);
            }
            if was_open && matches!(error, Error::Lost { .. }) {
                continue;
            }
            tracing::debug!(%error, method, "another try");
            let at = state.server;
            last[at] = Some(match &error {
                Error::Connect { source, .. } | Error::Lost { source, .. } => source.to_string(),
                other => other.to_string(),
            });
            state.server = (at + 1) % self.servers.len();
            let is_round = last.iter().all(Option::is_some) && retry_count > 0 || self.servers.len() == 1;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.unreachable(&last));
            }
            if is_round {
                sleep(pause.min(left)).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
        Err(self.unreachable(&last))
    }

    fn unreachable(&self, last: &[Option<String>]) -> Error {
        let tried: Vec<String> = self
            .servers
            .iter()
            .zip(last)
            .map(|(server, why)| format!("{server} ({})", why.as_deref().unwrap_or("not tried")))
            .collect();
        Error::Unreachable { what: self.protocol.server.to_owned(), tried: tried.join(", ") }
    }

    async fn attempt<R: Message + Default>(
        &self,
        state: &mut State,
        header: &RequestHeader,
        call_id: i32,
        retry_count: i32,
        request: &impl Message,
    ) -> Result<R, Error> {
        let server = &self.servers[state.server];
        // Whoever drops this call drops its connection too: it may be in the
        // middle of a frame.
        let mut connection = match state.connection.take() {
            Some(connection) => connection,
            None => {
                let class = self.protocol.class;
                Connection::open(server, class, &state.login, state.client_id, &self.options).await?
            }
        };
        let call = connection.call(call_id, retry_count, header, request);
        let answer = timeout(self.options.answer, call).await.unwrap_or_else(|_| {
            Err(Error::NoAnswer {
                server: server.to_string(),
                method: header.method_name.clone(),
                after: self.options.answer,
            })
        });
        // A server that is not active is left, any other exception is an
        // answer like others.
        if answer.as_ref().err().is_none_or(|error| error.remote().is_some() && error.retry() == Retry::No) {
            state.connection = Some(connection);
        }
        answer
    }
}
