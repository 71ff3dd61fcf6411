//! One connection to one server: its start, frames out and in, protection. One
//! call at a time; what is dropped in the middle of a call is not used again.

use crate::messages::rpc::rpc_response_header::RpcStatus;
use crate::messages::rpc::{IpcConnectionContext, RequestHeader, RpcSasl, UserInformation};
use crate::rpc::digest::Layer;
use crate::rpc::error::{Error, Remote};
use crate::rpc::frame::{self, CONNECTION_CONTEXT, Malformed, PING, SASL};
use crate::rpc::{Options, Server, sasl};
use crate::token::Token;
use bytes::{Buf, BytesMut};
use prost::Message;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How a client says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A name that the server believes: Hadoop's `simple` authentication.
    Simple { user: String },
    /// A token of the service.
    Token(Token),
}

pub struct Connection {
    server: String,
    stream: TcpStream,
    /// Bytes of the network that are no whole frame yet.
    incoming: BytesMut,
    /// Bytes out of protected packets that are no whole frame yet.
    unwrapped: BytesMut,
    layer: Option<Layer>,
    client_id: [u8; 16],
    ping: Duration,
}

impl Connection {
    pub async fn open(
        server: &Server,
        protocol: &str,
        login: &Login,
        client_id: [u8; 16],
        options: &Options,
    ) -> Result<Self, Error> {
        let name = server.to_string();
        let connected =
            timeout(options.connect, TcpStream::connect((server.host.as_str(), server.port))).await;
        let stream = connected
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|source| Error::Connect { server: name.clone(), source })?;
        let mut connection = Self {
            server: name,
            stream,
            incoming: BytesMut::new(),
            unwrapped: BytesMut::new(),
            layer: None,
            client_id,
            ping: options.ping,
        };
        let start = connection.start(protocol, login);
        match timeout(options.connect, start).await {
            Ok(started) => started.map(|()| connection),
            Err(_) => Err(Error::NoAnswer {
                server: connection.server.clone(),
                method: "the start of the connection".to_owned(),
                after: options.connect,
            }),
        }
    }

    async fn start(&mut self, protocol: &str, login: &Login) -> Result<(), Error> {
        let user = match login {
            Login::Simple { user } => {
                self.write(&frame::preamble(false)).await?;
                Some(user.clone())
            }
            Login::Token(token) => {
                self.write(&frame::preamble(true)).await?;
                self.authenticate(token).await?;
                // The token's identifier says who this is.
                None
            }
        };
        let user_info = UserInformation { effective_user: user, real_user: None };
        let context =
            IpcConnectionContext { user_info: Some(user_info), protocol: Some(protocol.to_owned()) };
        let header = frame::header(CONNECTION_CONTEXT, &self.client_id, -1);
        self.send(&frame::frame(&header, Some(&context))).await
    }

    async fn authenticate(&mut self, token: &Token) -> Result<(), Error> {
        let offers = self.exchange(&sasl::negotiate()).await?;
        let cnonce = format!("{:032x}", rand::random::<u128>());
        let refused = |reason: String| Error::Credentials { server: self.server.clone(), reason };
        let (response, session) = sasl::initiate(offers, token, &cnonce).map_err(refused)?;
        let answer = self.exchange(&response).await?;
        let refused = |reason: String| Error::Credentials { server: self.server.clone(), reason };
        self.layer = sasl::finish(&answer, session).map_err(refused)?;
        Ok(())
    }

    /// A message of SASL and its answer, outside of any protection.
    async fn exchange(&mut self, message: &RpcSasl) -> Result<RpcSasl, Error> {
        self.write(&frame::frame(&frame::header(SASL, &[], -1), Some(message))).await?;
        let frame = self.read().await?;
        let (header, rest) = frame::response(&frame).map_err(|malformed| self.malformed(malformed))?;
        if header.status() != RpcStatus::Success {
            let class = header.exception_class_name().to_owned();
            let remote = Remote::new(&self.server, "the login", class, header.error_msg());
            // A token that has expired, or of another cluster.
            return Err(Error::Credentials {
                server: self.server.clone(),
                reason: format!("{}: {}", remote.short_class(), remote.message),
            });
        }
        if header.call_id as i32 != SASL {
            return Err(self.malformed(Malformed::Other("an answer that is no login")));
        }
        frame::message(rest).map_err(|malformed| self.malformed(malformed))
    }

    /// Calls a method. The connection is of no use after an error that is not
    /// the server's exception.
    pub async fn call<R: Message + Default>(
        &mut self,
        call_id: i32,
        retry_count: i32,
        method: &RequestHeader,
        request: &impl Message,
    ) -> Result<R, Error> {
        let header = frame::header(call_id, &self.client_id, retry_count);
        self.send(&frame::call(&header, method, request)).await?;
        let frame = loop {
            // A silent server is asked whether it is there; nobody answers a
            // ping, but a connection to nobody breaks.
            match timeout(self.ping, self.receive()).await {
                Ok(frame) => break frame?,
                Err(_) => {
                    let ping = frame::header(PING, &self.client_id, -1);
                    self.send(&frame::frame(&ping, None::<&RpcSasl>)).await?;
                }
            }
        };
        let (header, rest) = frame::response(&frame).map_err(|malformed| self.malformed(malformed))?;
        if header.status() != RpcStatus::Success {
            let class = header.exception_class_name().to_owned();
            let remote = Remote::new(&self.server, &method.method_name, class, header.error_msg());
            return Err(Error::Remote(Box::new(remote)));
        }
        if header.call_id as i32 != call_id {
            return Err(self.malformed(Malformed::Other("an answer to something else")));
        }
        frame::message(rest).map_err(|malformed| self.malformed(malformed))
    }

    /// Sends a frame, protected as was agreed.
    async fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        let Some(layer) = &mut self.layer else { return self.write(frame).await };
        let mut packets = Vec::new();
        for part in frame.chunks(layer.packet_bytes_max) {
            let message = sasl::wrapped(layer.wrap(part));
            packets.extend(frame::frame(&frame::header(SASL, &[], -1), Some(&message)));
        }
        self.write(&packets).await
    }

    /// The next frame without its prefix. May be dropped and called again.
    async fn receive(&mut self) -> Result<Vec<u8>, Error> {
        if self.layer.is_none() {
            return self.read().await;
        }
        loop {
            if let Some(frame) = take(&mut self.unwrapped).map_err(|malformed| self.malformed(malformed))? {
                return Ok(frame);
            }
            let packet = self.read().await?;
            let plain = self.unwrap(&packet).map_err(|malformed| self.malformed(malformed))?;
            // No server splits an answer that is longer than is allowed.
            if self.unwrapped.len() + plain.len() > frame::FRAME_BYTES_MAX + 4 {
                return Err(self.malformed(Malformed::TooLong(self.unwrapped.len() + plain.len())));
            }
            self.unwrapped.extend_from_slice(&plain);
        }
    }

    fn unwrap(&mut self, packet: &[u8]) -> Result<Vec<u8>, Malformed> {
        let (header, rest) = frame::response(packet)?;
        let message: RpcSasl = frame::message(rest)?;
        if header.call_id as i32 != SASL || message.state() != sasl::wrapped(Vec::new()).state() {
            return Err(Malformed::Other("an answer outside of the agreed protection"));
        }
        let Some(layer) = &mut self.layer else { return Err(Malformed::Other("a protected answer")) };
        layer.unwrap(message.token()).map_err(|_| Malformed::Other("a protected packet whose check fails"))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.stream.write_all(bytes).await.map_err(|source| self.lost(source))
    }

    async fn read(&mut self) -> Result<Vec<u8>, Error> {
        loop {
            if let Some(frame) = take(&mut self.incoming).map_err(|malformed| self.malformed(malformed))? {
                return Ok(frame);
            }
            match self.stream.read_buf(&mut self.incoming).await {
                Ok(0) => return Err(self.lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(source) => return Err(self.lost(source)),
            }
        }
    }

    fn lost(&self, source: io::Error) -> Error {
        Error::Lost { server: self.server.clone(), source }
    }

    fn malformed(&self, malformed: Malformed) -> Error {
        Error::Malformed { server: self.server.clone(), malformed }
    }
}

/// Takes a whole frame from the front, without its prefix.
fn take(bytes: &mut BytesMut) -> Result<Option<Vec<u8>>, Malformed> {
    let Some(length) = frame::length(bytes)? else { return Ok(None) };
    if bytes.len() < 4 + length {
        return Ok(None);
    }
    bytes.advance(4);
    Ok(Some(bytes.split_to(length).to_vec()))
}
