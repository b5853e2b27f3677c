//! Compiled constraints by what they were compiled of, within a bound on bytes.

use std::collections::HashMap;

use super::Follower;
use crate::params::Constraint;

/// Bytes that compiled constraints may take, by [`estimate`].
const BYTES: usize = 48 << 20;

/// What a follower takes beside what grows with its text, and what grows, measured over schemas
/// and grammars from 50 bytes to 600 kB; rules of a few bytes come out dearest.
const FOLLOWER_BYTES: usize = 48 << 10;
const BYTES_PER_BYTE: usize = 256;

/// Least recently used ones go first.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

/// A constraint as text: the same one has the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(&'static str, String);

struct Entry {
    follower: Follower,
    bytes: usize,
    used: u64,
}

impl Key {
    pub(super) fn of(constraint: &Constraint) -> Self {
        match constraint {
            Constraint::JsonObject => Self("object", String::new()),
            Constraint::JsonSchema(schema) => Self("schema", schema.to_string()),
            Constraint::Regex(pattern) => Self("regex", pattern.clone()),
            Constraint::Grammar(text) => Self("grammar", text.clone()),
        }
    }
}

impl Cache {
    /// A follower of its own, at the beginning of an answer.
    pub(super) fn get(&mut self, key: &Key) -> Option<Follower> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.follower.clone())
    }

    /// Keeps a follower that is at the beginning of an answer.
    pub(super) fn insert(&mut self, key: Key, follower: Follower) {
        let bytes = estimate(&key);
        if bytes > BYTES {
            return;
        }
        while self.bytes + bytes > BYTES {
            // Some hundred entries at most: looking at each is cheaper than keeping an order.
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            self.remove(&oldest);
        }
        self.remove(&key);
        self.clock += 1;
        let used = self.clock;
        self.bytes += bytes;
        let entry = Entry {
            follower,
            bytes,
            used,
        };
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: &Key) {
        if let Some(gone) = self.entries.remove(key) {
            self.bytes -= gone.bytes;
        }
    }
}

fn estimate(Key(_, text): &Key) -> usize {
    FOLLOWER_BYTES + text.len() * BYTES_PER_BYTE
}

#[cfg(all(test, feature = "stub"))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::constraint::Compiler;
    use crate::stub::StubTokenizer;

    #[test]
    fn ten_thousand_distinct_schemas_leave_memory_flat() {
        let compiler = Compiler::new(Arc::new(StubTokenizer::default()));
        let schema = |n: usize| Constraint::JsonSchema(serde_json::json!({ "const": n }));
        let mut full = 0;
        for n in 0..10_000 {
            compiler.compile(&schema(n)).expect("a good schema");
            let cache = compiler.cache.lock().expect("not poisoned");
            assert!(cache.bytes <= BYTES, "{} bytes", cache.bytes);
            let sum: usize = cache.entries.values().map(|entry| entry.bytes).sum();
            assert_eq!(sum, cache.bytes);
            if n == 2000 {
                full = cache.entries.len();
            }
            if n > 2000 {
                assert!(cache.entries.len().abs_diff(full) <= 1);
            }
        }
        let mut cache = compiler.cache.lock().expect("not poisoned");
        assert!(cache.get(&Key::of(&schema(9_999))).is_some());
        assert!(cache.get(&Key::of(&schema(0))).is_none());
    }

    #[test]
    fn what_was_used_last_stays() {
        let compiler = Compiler::new(Arc::new(StubTokenizer::default()));
        let follower = compiler.compile(&Constraint::JsonObject).expect("any");
        let mut cache = Cache::default();
        // Three of these fill it.
        let key = |n: u8| Key("grammar", char::from(b'a' + n).to_string().repeat(60_000));
        for n in 0..3 {
            cache.insert(key(n), follower.clone());
        }
        assert!(cache.get(&key(0)).is_some());
        cache.insert(key(3), follower.clone());
        assert!(cache.get(&key(1)).is_none());
        assert!(cache.get(&key(0)).is_some() && cache.get(&key(3)).is_some());
        cache.insert(Key("grammar", "z".repeat(1 << 20)), follower);
        assert!(cache.get(&key(0)).is_some(), "too big to push others out");
    }
}
