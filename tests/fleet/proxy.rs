//! A proxy between a sidecar and its control plane that lets through as many bytes as a test wants.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::process::PATIENCE;

/// Bytes that go at once.
const CHUNK: usize = 16 << 10;

/// Listens at one socket file and passes on to another, which may be away.
pub struct Proxy {
    pub endpoint: String,
    accepted: Arc<watch::Sender<usize>>,
    left: Arc<watch::Sender<usize>>,
}

impl Proxy {
    pub fn start(at: &Path, to: &Path) -> Proxy {
        let listener = UnixListener::bind(at).unwrap();
        let proxy = Proxy {
            endpoint: format!("unix:{}", at.display()),
            accepted: Arc::new(watch::Sender::new(0)),
            left: Arc::new(watch::Sender::new(usize::MAX)),
        };
        let (accepted, left, to) = (Arc::clone(&proxy.accepted), Arc::clone(&proxy.left), to.to_path_buf());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.send_modify(|accepted| *accepted += 1);
                let (left, to) = (Arc::clone(&left), to.clone());
                // Either end may be killed at any time.
                tokio::spawn(async move { drop(pass(stream, to, left).await) });
            }
        });
        proxy
    }

    /// From now on so many bytes come from the control plane, over all connections; 0 holds new connections, too.
    pub fn allow(&self, bytes: usize) {
        self.left.send_replace(bytes);
    }

    /// Ready when everything that was allowed has come.
    pub async fn exhausted(&self) {
        let mut left = self.left.subscribe();
        tokio::time::timeout(PATIENCE, left.wait_for(|left| *left == 0)).await.unwrap().unwrap();
    }

    /// How many connections there were until now.
    pub fn connections(&self) -> usize {
        *self.accepted.borrow()
    }

    /// Ready when there was another connection after so many.
    pub async fn connected_after(&self, count: usize) {
        let mut accepted = self.accepted.subscribe();
        tokio::time::timeout(PATIENCE, accepted.wait_for(|accepted| *accepted > count)).await.unwrap().unwrap();
    }
}

async fn pass(down: UnixStream, to: PathBuf, left: Arc<watch::Sender<usize>>) -> std::io::Result<()> {
    let mut allowed = left.subscribe();
    let gone = std::io::ErrorKind::BrokenPipe;
    allowed.wait_for(|left| *left > 0).await.map_err(|_| gone)?;
    let (mut from, mut up) = UnixStream::connect(to).await?.into_split();
    let (mut requests, mut down) = down.into_split();
    let upward = async move {
        copy(&mut requests, &mut up).await?;
        up.shutdown().await
    };
    let downward = async move {
        let mut buffer = vec![0; CHUNK];
        loop {
            let most = CHUNK.min(*allowed.wait_for(|left| *left > 0).await.map_err(|_| gone)?);
            let count = from.read(&mut buffer[..most]).await?;
            if count == 0 {
                return down.shutdown().await;
            }
            down.write_all(&buffer[..count]).await?;
            left.send_modify(|left| *left = if *left == usize::MAX { *left } else { left.saturating_sub(count) });
        }
    };
    // When one end is gone, the other learns of it.
    tokio::select! { result = upward => result, result = downward => result }
}
