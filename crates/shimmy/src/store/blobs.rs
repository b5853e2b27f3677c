//! Blobs that clients send. Owns the way from a body to the disk; must not know what is in them.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use shimmy_models::{PackageError, Packages};
use shimmy_server::{Digest, StoreError};
use tokio::sync::mpsc::channel;

use super::failed;

/// Chunks that wait for the disk.
const ROOM: usize = 4;

/// Takes a blob to disk as it comes.
pub(super) async fn put(
    packages: Packages,
    digest: Digest,
    mut content: BoxStream<'static, Result<Bytes, StoreError>>,
) -> Result<(), StoreError> {
    let (sender, mut receiver) = channel::<Option<Bytes>>(ROOM);
    let expected = digest.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut blob = packages.new_blob()?;
        loop {
            match receiver.blocking_recv() {
                Some(Some(chunk)) => blob.write(&chunk)?,
                Some(None) => return blob.keep_as(digest.hex()),
                // It does not come whole.
                None => return Err(PackageError::Cancelled),
            }
        }
    });
    let mut outcome = Ok(());
    while let Some(chunk) = content.next().await {
        let chunk = match chunk {
            Ok(chunk) => chunk,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        };
        if sender.send(Some(chunk)).await.is_err() {
            // The disk has failed, and says so below.
            break;
        }
    }
    if outcome.is_ok() {
        // Who does not listen any more has failed, and says so below.
        let _ = sender.send(None).await;
    }
    drop(sender);
    let written = writing.await.map_err(failed)?;
    outcome?;
    written.map_err(|error| match error {
        PackageError::WrongContent { .. } => StoreError::WrongContent { expected },
        other => failed(other),
    })
}
