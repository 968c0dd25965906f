//! The container in which this process runs, as the engine knows it.
//!
//! What it is: two ways to find out, by what the kernel tells of this process. What it is not: the
//! hostname, which people choose. That the id is really one of this engine shows when it lists its
//! containers: in an engine within a container the id is one of the engine around it.

use std::path::Path;

/// How an engine names a container: a hash of 256 bits in hexadecimal.
const ID_LENGTH: usize = 64;
/// The files that an engine puts into each container, from a folder with the container's id.
const GIVEN_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// The id; none for a process that runs in no container.
pub fn container_id() -> Option<String> {
    let read = |file: &str| std::fs::read_to_string(Path::new("/proc/self").join(file));
    let by_group = read("cgroup").ok().and_then(|text| in_groups(&text));
    by_group.or_else(|| read("mountinfo").ok().and_then(|text| in_mounts(&text)))
}

/// By the control group, whose path ends in the id (`0::/docker/ID`, `.../docker-ID.scope`). With the
/// second version of control groups a container sees its own as `/`, and this finds nothing.
fn in_groups(cgroup: &str) -> Option<String> {
    let paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter_map(|path| path.rsplit('/').next()).find_map(|last| {
        let last = last.strip_suffix(".scope").unwrap_or(last);
        id(last.rsplit('-').next()?)
    })
}

/// By where the files come from that the engine gives to each container:
/// `... /var/lib/docker/containers/ID/hostname /etc/hostname ...`.
fn in_mounts(mountinfo: &str) -> Option<String> {
    let given = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (from, to) = (fields.next()?, fields.next()?);
        GIVEN_FILES.contains(&to).then_some(from)
    });
    given.flat_map(|from| from.split('/')).find_map(id)
}

fn id(word: &str) -> Option<String> {
    let is_id = word.len() == ID_LENGTH && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{in_groups, in_mounts};

    const ID: &str = "5d1e3c6a9f0b4d2e8c7a6b5f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8a7f6e5d";

    #[test]
    fn container_is_found_by_its_control_group_however_the_engine_writes_it() {
        for path in [format!("/docker/{ID}"), format!("/system.slice/docker-{ID}.scope")] {
            let text = format!("12:pids:{path}\n1:name=systemd:{path}\n");
            assert_eq!(in_groups(&text).as_deref(), Some(ID), "{text}");
        }
        assert_eq!(in_groups("0::/\n"), None);
        assert_eq!(in_groups("0::/user.slice/user-0.slice/session-1.scope\n"), None);
    }

    #[test]
    fn container_is_found_by_the_files_that_the_engine_gives_it() {
        let text = format!(
            "801 800 0:45 / / rw - overlay overlay rw\n\
             812 801 254:0 /lib/docker/containers/{ID}/hosts /etc/hosts rw - ext4 /dev/vda rw\n"
        );
        assert_eq!(in_mounts(&text).as_deref(), Some(ID));
    }

    #[test]
    fn device_that_runs_containers_is_in_none_of_them() {
        let text = format!(
            "99 28 0:51 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw\n\
             98 28 254:0 /etc/hosts /etc/hosts rw - ext4 /dev/vda rw\n"
        );
        assert_eq!(in_mounts(&text), None);
    }
}
