//! The command line against the real manager: the whole life of an app and its group, and a backup
//! on which a second manager starts.

use crate::program::User;
use nebula::config::{Credentials, Secret};
use nebula::modes::manager::{Config, Dependencies, Limits, run};
use nebula::store::SqliteStore;
use nebula::store::reports::{MAX_REPORTS_BYTES, Retention, SqliteReports};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A manager on a store of its own, in a thread of its own; dropped, it drains.
pub(crate) struct Manager {
    pub(crate) url: String,
    shutdown: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Manager {
    /// One on the store in a folder.
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, Limits::default())
    }

    /// The same with other limits.
    pub(crate) fn start_with(data_dir: &Path, limits: Limits) -> Self {
        let config = config(data_dir);
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().expect("a runtime").block_on(async {
                let store = SqliteStore::open(&config.data_dir).await.expect("a store");
                let retention = Retention { seconds: 3_600, is_firm: false };
                let reports = SqliteReports::new(&config.data_dir, retention, MAX_REPORTS_BYTES);
                let (store, reports) = (Arc::new(store), Arc::new(reports));
                let dependencies = Dependencies { store, reports, limits };
                let listening = move |address: SocketAddr| tell.send(address).expect("heard");
                run(config, dependencies, listening, until).await.expect("it drains");
            });
        });
        let url = format!("http://{}", told.recv().expect("it listens"));
        Self { url, shutdown, thread: Some(thread) }
    }

    /// The configured local admin.
    pub(crate) fn admin(&self) -> User {
        User::at(&self.url).with("NEBULA_USERNAME", "admin").with("NEBULA_PASSWORD", "pa:ss")
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed, and has failed the test already.
            let _ = thread.join();
        }
    }
}

fn config(data_dir: &Path) -> Config {
    let password = Secret::new("pa:ss".to_owned());
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        local_admin: Some(Credentials { user: "admin".to_owned(), password }),
        auth_token: Some(Secret::new("t0ken".to_owned())),
        auth_enabled: true,
        trusted_proxies: Vec::new(),
        data_dir: data_dir.to_owned(),
        tls: None,
        cache_time: Duration::from_secs(10),
        cache_max_size: 1024,
        report_ttl_seconds: 3_600,
        is_report_ttl_given: false,
        mongo: None,
    }
}

/// An app's or group's fields as the API has them.
pub(crate) fn object(user: &User, noun: &str, name: &str) -> Value {
    serde_json::from_str(&user.ctl(&[noun, "info", name, "-o", "json"]).ok()).expect("JSON")
}

#[test]
fn an_app_and_its_group_from_the_first_call_to_the_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = manager.admin();
    let create = "apps create web --image nginx:1 --port 80 --port 81:8081 --env A=1 --env B=2 \
                  --volume data:/data --per server=1 --network nebula --device /dev/null --rolling";
    user.ctl(&create.split_whitespace().collect::<Vec<_>>()).ok();
    user.ctl(&["apps", "update", "web", "--image", "nginx:2", "--env", "B=3", "--no-ports"]).ok();
    user.ctl(&["apps", "stop", "web"]).ok();
    let err = user.ctl(&["apps", "restart", "web"]).fails(1);
    assert!(err.contains("app `web` is stopped"), "{err}");
    user.ctl(&["apps", "start", "web"]).ok();
    let app = object(&user, "apps", "web");
    assert_eq!(app["app_id"], 4, "{app}");
    assert_eq!(app["docker_image"], "nginx:2");
    assert_eq!(app["env_vars"], serde_json::json!({ "A": "1", "B": "3" }));
    assert_eq!(app["starting_ports"], serde_json::json!([]));
    assert_eq!(app["volumes"], serde_json::json!(["data:/data"]));
    user.ctl(&["device-groups", "create", "site", "--app", "web"]).ok();
    let err = user.ctl(&["device-groups", "update", "site", "--add-app", "wbe"]).fails(1);
    assert!(err.contains("app `wbe` does not exist") && err.contains("`web`"), "{err}");
    user.ctl(&["prune", "device-group", "site"]).ok();
    assert!(user.ctl(&["prune", "all"]).ok().contains("site"));
    assert_eq!(object(&user, "device-groups", "site")["prune_id"], 3);
    let err = user.ctl(&["prune", "device-group", "sit"]).fails(1);
    assert!(err.contains("device group `sit` does not exist"), "{err}");
    user.ctl(&["device-groups", "delete", "site", "--yes"]).ok();
    user.ctl(&["apps", "delete", "web", "--yes"]).ok();
    let err = user.ctl(&["apps", "info", "web"]).fails(1);
    assert!(err.contains("app `web` does not exist"), "{err}");
}

#[test]
fn an_apps_versions_are_told_and_gone_back_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = manager.admin();
    user.ctl(&["apps", "create", "web", "--image", "nginx:1", "--env", "KEY=hunter2"]).ok();
    user.ctl(&["apps", "update", "web", "--image", "nginx:2", "--env", "KEY=hunter3"]).ok();
    let history = user.ctl(&["apps", "history", "web"]).ok();
    let changed = "docker_image: nginx:1 -> nginx:2; env_vars: changed KEY";
    assert!(history.contains(changed) && !history.contains("hunter"), "{history}");
    assert_eq!(history.matches("local:admin").count(), 2, "{history}");
    user.ctl(&["apps", "rollback", "web"]).ok();
    let app = object(&user, "apps", "web");
    assert_eq!((&app["docker_image"], &app["app_id"]), (&"nginx:1".into(), &3.into()));
    assert_eq!(app["env_vars"], serde_json::json!({ "KEY": "hunter2" }));
    user.ctl(&["apps", "rollback", "web", "--to", "2"]).ok();
    assert_eq!(object(&user, "apps", "web")["docker_image"], "nginx:2");
    let err = user.ctl(&["apps", "rollback", "web", "--to", "9"]).fails(1);
    assert!(err.contains("9 is not among the last 50 versions"), "{err}");
}

#[test]
fn a_manager_starts_on_a_backup() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = manager.admin();
    user.ctl(&["apps", "create", "web", "--image", "nginx:1"]).ok();
    let restored = tempfile::tempdir().expect("a folder");
    let file = restored.path().join("nebula.db");
    user.ctl(&["backup", &file.display().to_string()]).ok();
    user.ctl(&["apps", "delete", "web", "--yes"]).ok();
    let second = Manager::start(restored.path());
    assert_eq!(object(&second.admin(), "apps", "web")["docker_image"], "nginx:1");
}

#[test]
fn login_is_checked_by_the_manager() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = User::at(&manager.url);
    let err = user.ctl(&["ping"]).fails(1);
    assert!(err.contains("the manager wants credentials"), "{err}");
    let err = user.ctl_with(&["login", "--username", "admin"], "wrong\n").fails(1);
    assert!(err.contains("does not accept the credentials"), "{err}");
    user.ctl_with(&["login", "--username", "admin"], "pa:ss\n").ok();
    assert!(user.ctl(&["ping"]).ok().contains("answers"));
    user.ctl(&["login", "--token", "t0ken"]).ok();
    user.ctl(&["apps", "list"]).ok();
}

#[test]
fn what_ctl_takes_the_manager_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start(folder.path());
    let user = manager.admin();
    user.ctl(&["apps", "create", "web", "--image", "nginx:1"]).ok();
    for given in [
        ["--port", "65535"],
        ["--port", "80:8080"],
        ["--per", "cpu=0.5"],
        ["--per", "memory=512"],
        ["--network", "host"],
        ["--volume", "/a:/b:ro"],
        ["--device", "/dev/snd:/dev/snd:rw"],
        ["--privileged", "false"],
        ["--running", "false"],
        ["--unset-env", "A"],
        ["--env", "A=x=y"],
    ] {
        let outcome = user.ctl(&[&["apps", "update", "web"], &given[..]].concat());
        // There is no variable to take away; all else is taken.
        let expected = i32::from(given[0] == "--unset-env");
        assert_eq!(outcome.code, Some(expected), "{given:?}: {}", outcome.seen());
    }
}
