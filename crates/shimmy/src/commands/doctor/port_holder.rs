//! Which program listens on a port, as Linux tells it in /proc. Other systems tell nothing there.

use std::fs;
use std::path::Path;

/// The program with its process id; none if it is another user's, or nobody tells.
pub(super) fn holder(port: u16) -> Option<String> {
    find(Path::new("/proc"), port)
}

fn find(proc: &Path, port: u16) -> Option<String> {
    let tables = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(proc.join(table)));
    let sockets: Vec<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines())
        .filter_map(|line| listening(line, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir(proc).ok()?.filter_map(Result::ok);
    let numbered = processes.filter_map(|entry| entry.file_name().into_string().ok());
    for id in numbered.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
        let open = fs::read_dir(proc.join(&id).join("fd"))
            .into_iter()
            .flatten();
        let targets = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let mut names = targets.map(|target| target.to_string_lossy().into_owned());
        if names.any(|name| sockets.contains(&name)) {
            let name = fs::read_to_string(proc.join(&id).join("comm")).unwrap_or_default();
            return Some(format!("{} (process {id})", name.trim()));
        }
    }
    None
}

/// The inode of a line of /proc/net/tcp that listens on this port:
/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …` (proc(5)).
fn listening(line: &str, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let (_, its_port) = local.rsplit_once(':')?;
    let its_port = u16::from_str_radix(its_port, 16).ok()?;
    (its_port == port && state == LISTEN).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_read() {
        let line = "   0: 0100007F:2CAB 00000000:0000 0A 00000000:00000000 00:00000000 00000000 \
                     1000        0 31337 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listening(line, 0x2cab), Some("31337"));
        assert_eq!(listening(line, 80), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 0x2cab), None);
        assert_eq!(listening("  sl  local_address", 80), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_holder_of_a_port_of_ours_is_this_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = holder(port).unwrap();
        let own = format!("(process {})", std::process::id());
        assert!(found.ends_with(&own), "{found}");
    }
}
