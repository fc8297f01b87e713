//! A WebSocket to a gateway: opened, read, left. It does not know the protocol above it.

use std::{sync::Arc, time::Duration};

use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderValue, header::COOKIE},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};

use crate::{CookieJar, SUBPROTOCOL, core::End};

/// How long the other side may take to answer a close frame.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a frame may take to be written before the connection counts as broken.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) type Socket = Box<WebSocketStream<MaybeTlsStream<TcpStream>>>;

/// Where to connect, and how.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) read_buffer: usize,
    /// For `wss://`.
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// Sent, and kept from answers.
    pub(crate) cookies: Option<CookieJar>,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Read {
    Text(Message),
    /// A ping or another frame without content for us: a sign of life.
    Life,
    End(End),
}

/// Connects, offering our subprotocol.
pub(crate) async fn open(target: &Target) -> Result<Socket, End> {
    let mut request = target.url.as_str().into_client_request().map_err(|error| refused(&error))?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
    let tls = target.tls.is_some();
    if let Some(cookies) = target.cookies.as_ref().and_then(|jar| jar.header(tls)) {
        request.headers_mut().insert(COOKIE, cookies);
    }
    let config = WebSocketConfig::default().read_buffer_size(target.read_buffer).write_buffer_size(0);
    let connector = target.tls.clone().map_or(Connector::Plain, Connector::Rustls);
    let connecting = connect_async_tls_with_config(request, Some(config), true, Some(connector));
    let (socket, answer) = connecting.await.map_err(|error| refused(&error))?;
    if let Some(jar) = &target.cookies {
        jar.take(answer.headers(), tls);
    }
    Ok(Box::new(socket))
}

/// Sorts what the stream gave.
pub(crate) fn sort(item: Option<Result<Message, Error>>) -> Read {
    match item {
        Some(Ok(text @ Message::Text(_))) => Read::Text(text),
        Some(Ok(Message::Close(frame))) => Read::End(closed(frame)),
        Some(Ok(_)) => Read::Life,
        Some(Err(error)) => Read::End(broken(error.to_string())),
        None => Read::End(broken("the connection ended".to_owned())),
    }
}

/// Writes a text frame, all of it.
pub(crate) async fn write(socket: &mut Socket, text: String) -> Result<(), End> {
    match tokio::time::timeout(WRITE_TIMEOUT, socket.send(Message::text(text))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(broken(error.to_string())),
        Err(_) => Err(broken("a frame could not be written in time".to_owned())),
    }
}

/// Says goodbye and reads on until the other side has, so that what it still sends does not reset the connection
/// before it has read our close frame.
pub(crate) async fn leave(mut socket: Socket) {
    let goodbye = async {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        if (*socket).close(Some(frame)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    if tokio::time::timeout(LEAVE_TIMEOUT, goodbye).await.is_err() {
        tracing::debug!("the gateway did not answer our close frame");
    }
}

fn refused(error: &Error) -> End {
    let status = if let Error::Http(response) = error { Some(response.status().as_u16()) } else { None };
    End::Refused { status, reason: error.to_string() }
}

fn closed(frame: Option<CloseFrame>) -> End {
    match frame {
        Some(frame) => End::Closed { code: Some(frame.code.into()), reason: frame.reason.to_string() },
        None => End::Closed { code: None, reason: "closed without a code".to_owned() },
    }
}

fn broken(reason: String) -> End {
    End::Closed { code: None, reason }
}
