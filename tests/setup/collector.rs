//! A collector on loopback: takes what is exported over HTTP and lets a test look at it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
};

/// One request that arrived.
pub(crate) struct Export {
    pub(crate) path: String,
    pub(crate) headers: Vec<String>,
    pub(crate) body: Vec<u8>,
}

/// What arrived, and a bell for those who wait for it.
#[derive(Default)]
struct Arrived {
    exports: Mutex<Vec<Export>>,
    more: Condvar,
}

pub(crate) struct Collector {
    endpoint: String,
    arrived: Arc<Arrived>,
}

impl Collector {
    /// One that answers.
    pub(crate) fn new() -> Self {
        Self::start(Some("200 OK"))
    }

    /// One that takes what comes and wants none of it.
    pub(crate) fn refusing() -> Self {
        Self::start(Some("401 Unauthorized"))
    }

    /// One that takes what comes and never answers.
    pub(crate) fn black_hole() -> Self {
        Self::start(None)
    }

    fn start(answer: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let arrived = Arc::<Arrived>::default();
        let collector = Self { endpoint, arrived: Arc::clone(&arrived) };
        thread::spawn(move || {
            for connection in listener.incoming() {
                let arrived = Arc::clone(&arrived);
                thread::spawn(move || serve(connection.unwrap(), &arrived, answer));
            }
        });
        collector
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What arrived at the path so far.
    pub(crate) fn take(&self, path: &str) -> Vec<Export> {
        let mut exports = self.arrived.exports.lock().unwrap();
        let (taken, left) = std::mem::take(&mut *exports).into_iter().partition(|export| export.path == path);
        *exports = left;
        taken
    }
}

/// Waits until something was exported to the endpoint.
pub(crate) fn wait_for_an_export(endpoint: &str) {
    let mut connection = TcpStream::connect(endpoint.trim_start_matches("http://")).unwrap();
    connection.write_all(b"GET /wait HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer).unwrap();
    assert!(answer.contains("200"), "{answer}");
}

/// Serves the requests of one connection, until its end.
fn serve(mut connection: TcpStream, arrived: &Arrived, answer: Option<&str>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_ascii_lowercase()),
            }
        }
        let path = lines.remove(0).split(' ').nth(1).unwrap().to_owned();
        let answer = if path == "/wait" {
            let exports = arrived.exports.lock().unwrap();
            drop(arrived.more.wait_while(exports, |exports| exports.is_empty()).unwrap());
            "200 OK"
        } else {
            let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            arrived.exports.lock().unwrap().push(Export { path, headers: lines, body });
            arrived.more.notify_all();
            let Some(answer) = answer else { continue };
            answer
        };
        // Whoever asked may be gone.
        let _ = write!(connection, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
    }
}
