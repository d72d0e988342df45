//! The local API of a running program, asked over its Unix socket; what comes back is told as it came.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::common::in_time;

/// An answer.
#[derive(Debug)]
pub struct Told {
    pub head: String,
    pub body: String,
}

/// Asks for a path with these further header lines, until the answer ends or holds `enough`.
pub async fn ask(socket: &Path, path: &str, headers: &str, enough: impl Fn(&str) -> bool) -> Told {
    let connect = async {
        loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let mut stream = in_time("somebody who listens", connect).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let read = async {
        while stream.read_buf(&mut bytes).await.unwrap() > 0 {
            if enough(&String::from_utf8_lossy(&bytes)) {
                break;
            }
        }
    };
    in_time(&format!("an answer to {path}"), read).await;
    let text = String::from_utf8(bytes).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Told { head: head.to_owned(), body: body.to_owned() }
}

/// The same to its end.
pub async fn get(socket: &Path, path: &str, headers: &str) -> Told {
    ask(socket, path, headers, |_| false).await
}
