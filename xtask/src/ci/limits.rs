//! The limits that a release keeps, all in one place. A change that needs another one says why here.

use std::time::Duration;

/// The most that the stripped binary may weigh, in bytes: with every dialect, two engines, downloads
/// over TLS, which alone take 1.3 MB, 0.7 MB of the conversation, the deployment files, the completions
/// and the manual pages, 0.44 MB of Swagger UI, and 0.4 MB of kernels that each level of processors has
/// for a KV cache of bytes, bfloat16 and adapters. For these two it was raised from 17.0 MB.
pub(super) const BINARY_BYTES: u64 = 18_000_000;

/// The same for the wheel, which is that binary compressed, and the terms of what is in it.
pub(super) const WHEEL_BYTES: u64 = 8_300_000;

/// From the start of `shimmy --help` to its end, also where the binary has to be read from the disk first:
/// a middle run of those that need not, the best of those that do.
pub(super) const HELP: Duration = Duration::from_millis(10);

/// How long `shimmy list` may take for `LISTED` models that it has seen before.
pub(super) const LIST: Duration = Duration::from_millis(100);
pub(super) const LISTED: usize = 200;

/// The least speed of `shimmy pull`, which also checks what comes, as a part of curl's.
pub(super) const PULL_RATIO: f64 = 0.9;
