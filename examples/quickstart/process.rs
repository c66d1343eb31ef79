//! An HTTP server on threads of its own, which can be killed.
//!
//! Market data, the portfolio service and its bare twin each run like this, so that none of them lives on
//! another's threads and one of them can die while the others go on.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    thread,
};

use anyhow::Result;
use axum::Router;
use tokio::{net::TcpSocket, runtime, select, sync::oneshot};

/// A running server. Dropped, it dies.
#[derive(Debug)]
pub(crate) struct Process {
    life: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Process {
    /// Listens on the reserved port and serves `app` there; connections are accepted from the return on.
    pub(crate) fn start(name: &str, port: TcpSocket, app: Router) -> Result<Self> {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            port.listen(1024)?
        };
        let (life, death) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                select! {
                    _ = axum::serve(listener, app) => {}
                    _ = death => {}
                }
            });
            // Here the runtime goes, and with it the listener and every connection, whatever it is doing.
        })?;
        Ok(Self { life, thread })
    }

    /// Ends the server as `kill -9` would: nothing is drained. Once this returns its sockets are closed.
    pub(crate) fn kill(self) {
        drop(self.life);
        // A server that panicked is just as dead.
        let _ = self.thread.join();
    }
}

/// Takes a port without listening on it: connections to it are refused, and nobody else is given it.
pub(crate) fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // Or the connections of the last life, in TIME_WAIT, would keep us from our own port for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Any free port of the loopback interface.
pub(crate) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
