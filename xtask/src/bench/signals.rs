//! Ending servers by the group of processes that each is started in: a server that runs its models
//! in processes of their own must not leave them behind.

use tokio::process::Command;

/// How a process is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It may put things in order.
    Asked,
    /// It is gone at once.
    Forced,
}

/// Makes the process that the command starts the first of a new group.
pub(super) fn own_group(command: &mut Command) {
    #[cfg(unix)]
    command.process_group(0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Ends the group. That it has already ended is no error.
#[cfg(unix)]
pub(super) fn end_group(first: u32, ending: Ending) {
    use rustix::process::{Pid, Signal, kill_process_group};

    let signal = match ending {
        Ending::Asked => Signal::TERM,
        Ending::Forced => Signal::KILL,
    };
    if let Some(group) = i32::try_from(first).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, signal);
    }
}

/// There are no groups here: the first process is ended by its own handle.
#[cfg(not(unix))]
pub(super) fn end_group(_first: u32, _ending: Ending) {}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Stdio;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_child_of_the_server_ends_with_it() {
        let mut command = Command::new("sh");
        // The inner shell holds the pipe open until it ends too. Shells give what runs beside them
        // nothing to read, which it would take for its end, unless it has been kept for it.
        command.args(["-c", "exec 3<&0; sh -c 'echo up; read line <&3' & wait"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        own_group(&mut command);
        let mut child = command.spawn().expect("a shell");
        let mut output = child.stdout.take().expect("a pipe");
        let mut up = [0; 3];
        output
            .read_exact(&mut up)
            .await
            .expect("the inner shell is up");
        end_group(child.id().expect("a process"), Ending::Forced);
        let mut rest = Vec::new();
        output.read_to_end(&mut rest).await.expect("the end");
        assert!(!child.wait().await.expect("a status").success());
    }
}
