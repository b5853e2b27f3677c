//! A store in memory: models are names, blobs are bytes that are counted.

use std::collections::BTreeSet;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use shimmy_server::{Digest, NewModel, Store, StoreError, StoreEvents, StoreProgress};

#[derive(Debug, Default)]
pub(crate) struct TestStore {
    /// What was asked of it, in words.
    pub(crate) done: Mutex<Vec<String>>,
    blobs: Mutex<BTreeSet<String>>,
}

impl TestStore {
    fn note(&self, what: String) {
        self.done.lock().unwrap().push(what);
    }
}

impl Store for TestStore {
    fn pull(&self, name: &str) -> StoreEvents {
        self.note(format!("pull {name}"));
        let progress = |status: &str, completed| StoreProgress {
            status: status.to_owned(),
            digest: Some(digest('a')),
            total: Some(9),
            completed: Some(completed),
        };
        let events = match name {
            "nobody" => vec![Err(StoreError::NotFound {
                name: name.to_owned(),
            })],
            "torn" => vec![
                Ok(progress("pulling", 3)),
                Err(StoreError::Failed {
                    reason: "cannot write '/srv/secret/blob': the disk is full".to_owned(),
                }),
            ],
            _ => vec![Ok(progress("pulling", 0)), Ok(progress("pulling", 9))],
        };
        futures_util::stream::iter(events).boxed()
    }

    fn remove<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        let outcome = match name {
            "nobody" => Err(StoreError::NotFound {
                name: name.to_owned(),
            }),
            _ => {
                self.note(format!("remove {name}"));
                Ok(())
            }
        };
        std::future::ready(outcome).boxed()
    }

    fn copy<'a>(
        &'a self,
        source: &'a str,
        destination: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.note(format!("copy {source} to {destination}"));
        std::future::ready(Ok(())).boxed()
    }

    fn create(&self, model: NewModel) -> StoreEvents {
        let NewModel {
            name,
            from,
            files,
            adapters,
            template,
            system,
            parameters,
            messages,
            licenses,
        } = model;
        self.note(format!(
            "create {name} from {from:?} with {} files and {} adapters",
            files.len(),
            adapters.len()
        ));
        if system.is_some() {
            let parameters = serde_json::Value::Object(parameters);
            let messages = messages.len();
            self.note(format!(
                "it has {template:?}, {system:?}, {parameters}, {messages}, {licenses:?}"
            ));
        }
        let progress = StoreProgress {
            status: "writing manifest".to_owned(),
            ..StoreProgress::default()
        };
        futures_util::stream::iter([Ok(progress)]).boxed()
    }

    fn has_blob<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<bool, StoreError>> {
        let there = self.blobs.lock().unwrap().contains(digest.hex());
        std::future::ready(Ok(there || *digest == self::digest('a'))).boxed()
    }

    fn put_blob<'a>(
        &'a self,
        digest: &'a Digest,
        mut content: BoxStream<'static, Result<Bytes, StoreError>>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let mut bytes = 0;
            while let Some(chunk) = content.next().await {
                bytes += chunk?.len();
            }
            if *digest == self::digest('f') {
                let expected = digest.clone();
                return Err(StoreError::WrongContent { expected });
            }
            self.note(format!("put {bytes} bytes"));
            self.blobs.lock().unwrap().insert(digest.hex().to_owned());
            Ok(())
        }
        .boxed()
    }
}

/// A digest of one digit. That of `a` is always there, that of `f` never right.
pub(crate) fn digest(digit: char) -> Digest {
    format!("sha256:{}", String::from(digit).repeat(64))
        .parse()
        .unwrap()
}
