//! The command line against the real manager: cron jobs, users, user groups and reports.

use crate::program::User;
use crate::real::{Manager, object};
use serde_json::json;

/// A manager on an empty store, which goes with the folder.
fn manager() -> (tempfile::TempDir, Manager) {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::start(folder.path());
    (folder, manager)
}

#[test]
fn a_cron_job_and_its_group_from_the_first_call_to_the_last() {
    let (_folder, manager) = manager();
    let user = manager.admin();
    let create = "cron-jobs create clean --image cleaner:1 --env A=1 --env B=2 --network nebula \
                  --volume /var/run/docker.sock:/var/run/docker.sock --schedule";
    user.ctl(&create.split_whitespace().chain(["0 * * * *"]).collect::<Vec<_>>()).ok();
    let again = ["cron-jobs", "create", "clean", "--image", "a", "--schedule", "@daily"];
    let err = user.ctl(&again).fails(1);
    assert!(err.contains("cron job `clean` exists already"), "{err}");
    let update = "cron-jobs update clean --image cleaner:2 --env B=3 --unset-env A --no-volumes";
    let outcome = user.ctl(&update.split_whitespace().collect::<Vec<_>>());
    assert_eq!(outcome.err, "cron job `clean` updated\n", "{}", outcome.seen());
    user.ctl(&["cron-jobs", "update", "clean", "--schedule", "*/5 * * * mon-fri"]).ok();
    user.ctl(&["cron-jobs", "update", "clean", "--running", "false"]).ok();
    let job = object(&user, "cron-jobs", "clean");
    assert_eq!(job["cron_job_id"], 4, "{job}");
    assert_eq!(job["docker_image"], "cleaner:2");
    assert_eq!(job["schedule"], "*/5 * * * mon-fri");
    assert_eq!(job["env_vars"], json!({ "B": "3" }));
    assert_eq!(job["volumes"], json!([]));
    assert_eq!(job["running"], false);
    assert!(user.ctl(&["cron-jobs", "list"]).ok().contains("cleaner:2"));
    user.ctl(&["device-groups", "create", "site", "--cron-job", "clean"]).ok();
    let err = user.ctl(&["device-groups", "update", "site", "--add-cron-job", "claen"]).fails(1);
    assert!(err.contains("cron job `claen` does not exist") && err.contains("`clean`"), "{err}");
    let outcome = user.ctl(&["device-groups", "update", "site", "--remove-cron-job", "clean"]);
    assert!(outcome.err.contains("cron job `clean` was taken out of `site`"));
    user.ctl(&["cron-jobs", "delete", "clean", "--yes"]).ok();
    let err = user.ctl(&["cron-jobs", "info", "clean"]).fails(1);
    assert!(err.contains("cron job `clean` does not exist"), "{err}");
    let err = user.ctl(&["cron-jobs", "update", "clean", "--running", "true"]).fails(1);
    assert!(err.contains("cron job `clean` does not exist"), "{err}");
}

/// A secret that a command shows once, on a line of its own.
fn shown(out: &str, what: &str) -> String {
    let line = out.lines().find_map(|line| line.strip_prefix(what));
    line.expect("it is shown").trim().to_owned()
}

#[test]
fn a_user_asks_with_what_was_shown_once() {
    let (_folder, manager) = manager();
    let admin = manager.admin();
    let out = admin.ctl(&["users", "create", "eve"]).ok();
    let (password, token) = (shown(&out, "password"), shown(&out, "token"));
    let by_password =
        User::at(&manager.url).with("NEBULA_USERNAME", "eve").with("NEBULA_PASSWORD", &password);
    let by_token = User::at(&manager.url).with("NEBULA_TOKEN", &token);
    by_password.ctl(&["ping"]).ok();
    by_token.ctl(&["ping"]).ok();
    let hashed = admin.ctl(&["users", "info", "eve", "-o", "json"]).ok();
    assert!(!hashed.contains(&password) && !hashed.contains(&token), "{hashed}");
    assert!(!admin.ctl(&["users", "info", "eve"]).ok().contains("$2"));
    let err = admin.ctl(&["users", "create", "eve"]).fails(1);
    assert!(err.contains("user `eve` exists already"), "{err}");
    // Nothing is granted so far.
    let err = by_token.ctl(&["apps", "create", "web", "--image", "nginx:1"]).fails(1);
    assert!(err.contains("the owner of this token may not do this"), "{err}");
    let new = shown(&admin.ctl(&["users", "refresh", "eve"]).ok(), "token");
    by_token.ctl(&["ping"]).fails(1);
    User::at(&manager.url).with("NEBULA_TOKEN", &new).ctl(&["ping"]).ok();
    let given = ["users", "update", "eve", "--new-password-file", "-"];
    assert_eq!(admin.ctl_with(&given, "another\n").err, "user `eve` updated\n");
    by_password.ctl(&["ping"]).fails(1);
    for command in [&["users", "refresh", "evee"][..], &["users", "info", "evee"]] {
        let err = admin.ctl(command).fails(1);
        assert!(err.contains("user `evee` does not exist") && err.contains("`eve`"), "{err}");
    }
    let given = ["users", "update", "evee", "--new-password-file", "-"];
    let err = admin.ctl_with(&given, "another\n").fails(1);
    assert!(err.contains("user `evee` does not exist"), "{err}");
    admin.ctl(&["users", "delete", "eve", "--yes"]).ok();
    let err = admin.ctl(&["users", "delete", "eve", "--yes"]).fails(1);
    assert!(err.contains("user `eve` does not exist"), "{err}");
}

#[test]
fn a_user_group_grants_what_it_says() {
    let (_folder, manager) = manager();
    let admin = manager.admin();
    admin.ctl(&["apps", "create", "web", "--image", "nginx:1"]).ok();
    let token = shown(&admin.ctl(&["users", "create", "eve"]).ok(), "token");
    let eve = User::at(&manager.url).with("NEBULA_TOKEN", &token);
    let create = ["user-groups", "create", "ops", "--member", "eve", "--app", "web=ro"];
    let outcome = admin.ctl(&create);
    assert_eq!(outcome.err, "user group `ops` created\n", "{}", outcome.seen());
    eve.ctl(&["apps", "info", "web"]).ok();
    let err = eve.ctl(&["apps", "stop", "web"]).fails(1);
    assert!(err.contains("may not do this"), "{err}");
    let outcome = admin.ctl(&["user-groups", "update", "ops", "--add-app", "web=rw"]);
    assert_eq!(outcome.err, "user group `ops` updated\n", "{}", outcome.seen());
    eve.ctl(&["apps", "stop", "web"]).ok();
    let update = "user-groups update ops --add-app soon=ro --add-member bob --pruning";
    let outcome = admin.ctl(&update.split_whitespace().collect::<Vec<_>>());
    assert!(outcome.err.contains("warning: there is no app `soon` so far"), "{}", outcome.seen());
    assert!(outcome.err.contains("warning: there is no user `bob` so far"), "{}", outcome.seen());
    let group = object(&admin, "user-groups", "ops");
    assert_eq!(group["apps"], json!({ "web": "rw", "soon": "ro" }));
    assert_eq!(group["group_members"], json!(["eve", "bob"]));
    assert_eq!(group["pruning_allowed"], true);
    assert_eq!(group["admin"], false);
    assert!(admin.ctl(&["users", "list"]).ok().contains("ops"));
    assert!(admin.ctl(&["user-groups", "list"]).ok().contains("web=rw"));
    let err = admin.ctl(&["user-groups", "create", "ops"]).fails(1);
    assert!(err.contains("user group `ops` exists already"), "{err}");
    let err = admin.ctl(&["user-groups", "update", "op", "--admin"]).fails(1);
    assert!(err.contains("user group `op` does not exist"), "{err}");
    admin.ctl(&["user-groups", "delete", "ops", "--yes"]).ok();
    eve.ctl(&["apps", "info", "web"]).fails(1);
}

#[test]
fn reports_of_nobody_are_none() {
    let (_folder, manager) = manager();
    let user = manager.admin();
    let all = "reports list --page-size 7 --hostname a --device-group b --since 1h --updated true \
               --last-id 0123456789abcdef01234567";
    let outcome = user.ctl(&all.split_whitespace().collect::<Vec<_>>());
    assert_eq!(outcome.err, "there are no such reports\n", "{}", outcome.seen());
    for comparison in ["eq", "ne", "gt", "gte", "lt", "lte"] {
        user.ctl(&["reports", "list", "--created", &format!("{comparison}=1700000000")]).ok();
    }
    user.ctl(&["reports", "list", "--all"]).ok();
    let none = user.ctl(&["devices", "list"]);
    assert!(none.code == Some(0) && none.err == "there are no such devices\n", "{}", none.seen());
    let err = user.ctl(&["devices", "info", "nobody"]).fails(1);
    assert!(err.contains("nobody"), "{err}");
}
