//! What people read before they do anything.

use crate::program::User;
use rstest::rstest;

#[rstest]
#[case("ctl", &[])]
#[case("apps", &["apps"])]
#[case("apps_list", &["apps", "list"])]
#[case("apps_info", &["apps", "info"])]
#[case("apps_create", &["apps", "create"])]
#[case("apps_update", &["apps", "update"])]
#[case("apps_delete", &["apps", "delete"])]
#[case("apps_start", &["apps", "start"])]
#[case("apps_stop", &["apps", "stop"])]
#[case("apps_restart", &["apps", "restart"])]
#[case("apps_history", &["apps", "history"])]
#[case("apps_rollback", &["apps", "rollback"])]
#[case("apps_status", &["apps", "status"])]
#[case("device_groups", &["device-groups"])]
#[case("device_groups_list", &["device-groups", "list"])]
#[case("device_groups_info", &["device-groups", "info"])]
#[case("device_groups_create", &["device-groups", "create"])]
#[case("device_groups_update", &["device-groups", "update"])]
#[case("device_groups_delete", &["device-groups", "delete"])]
#[case("device_groups_status", &["device-groups", "status"])]
#[case("device_groups_enroll", &["device-groups", "enroll"])]
#[case("cron_jobs", &["cron-jobs"])]
#[case("cron_jobs_list", &["cron-jobs", "list"])]
#[case("cron_jobs_info", &["cron-jobs", "info"])]
#[case("cron_jobs_create", &["cron-jobs", "create"])]
#[case("cron_jobs_update", &["cron-jobs", "update"])]
#[case("cron_jobs_delete", &["cron-jobs", "delete"])]
#[case("users", &["users"])]
#[case("users_list", &["users", "list"])]
#[case("users_info", &["users", "info"])]
#[case("users_create", &["users", "create"])]
#[case("users_update", &["users", "update"])]
#[case("users_delete", &["users", "delete"])]
#[case("users_refresh", &["users", "refresh"])]
#[case("user_groups", &["user-groups"])]
#[case("user_groups_list", &["user-groups", "list"])]
#[case("user_groups_info", &["user-groups", "info"])]
#[case("user_groups_create", &["user-groups", "create"])]
#[case("user_groups_update", &["user-groups", "update"])]
#[case("user_groups_delete", &["user-groups", "delete"])]
#[case("devices", &["devices"])]
#[case("devices_list", &["devices", "list"])]
#[case("devices_info", &["devices", "info"])]
#[case("devices_delete", &["devices", "delete"])]
#[case("devices_revoke", &["devices", "revoke"])]
#[case("reports", &["reports"])]
#[case("reports_list", &["reports", "list"])]
#[case("prune", &["prune"])]
#[case("prune_all", &["prune", "all"])]
#[case("prune_device_group", &["prune", "device-group"])]
#[case("ping", &["ping"])]
#[case("login", &["login"])]
#[case("logout", &["logout"])]
#[case("backup", &["backup"])]
#[case("simulate", &["simulate"])]
#[case("export", &["export"])]
#[case("import", &["import"])]
#[case("completions", &["completions"])]
#[case("man", &["man"])]
fn help_of_every_command(#[case] name: &str, #[case] arguments: &[&str]) {
    // A narrow terminal must not change it.
    let user = User::new().with("COLUMNS", "40");
    let out = user.ctl(&[arguments, &["--help"]].concat()).ok();
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    insta::assert_snapshot!(format!("help_{name}"), out);
}

#[rstest]
#[case("bash", "complete -F _nebula")]
#[case("zsh", "#compdef nebula")]
#[case("fish", "complete -c nebula")]
fn completions_know_the_whole_command_line(#[case] shell: &str, #[case] sign: &str) {
    // A broken configuration is no reason not to print a script.
    let user = User::new().with("NEBULA_URL", "nonsense");
    let out = user.ctl(&["completions", shell]).ok();
    assert!(out.contains(sign), "{out}");
    let words = ["device-groups", "unset-env", "restart", "cron-jobs", "schedule", "user-groups"];
    for word in words.into_iter().chain(["add-device-group", "new-token-file", "last-id"]) {
        assert!(out.contains(word), "{word} is missing");
    }
}

#[test]
fn completions_for_bash_are_a_sound_script() {
    let user = User::new();
    let file = user.path("nebula.bash");
    std::fs::write(&file, user.ctl(&["completions", "bash"]).ok()).expect("written");
    let checked = std::process::Command::new("bash").arg("-n").arg(&file).status().expect("bash");
    assert!(checked.success());
}

#[test]
fn man_writes_a_page_for_each_command() {
    // As with completions, a broken configuration is no reason not to.
    let user = User::new().with("NEBULA_URL", "nonsense");
    let folder = user.path("share/man1");
    user.ctl(&["man", folder.to_str().expect("text")]).ok();
    for name in ["nebula", "nebula-manager", "nebula-ctl", "nebula-ctl-device-groups-update"] {
        let page = std::fs::read_to_string(folder.join(format!("{name}.1"))).expect(name);
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
    }
    let page = std::fs::read_to_string(folder.join("nebula-ctl-apps-create.1")).expect("a page");
    // Its own options, and those of every command.
    assert!(page.contains(r"\-\-image") && page.contains(r"\-\-token\-file"), "{page}");
}

#[test]
fn man_names_the_folder_that_cannot_be_written() {
    let user = User::new();
    std::fs::write(user.path("file"), "").expect("written");
    let folder = user.path("file/man1");
    let err = user.ctl(&["man", folder.to_str().expect("text")]).fails(1);
    assert!(err.contains("cannot write manual pages to") && err.contains("file/man1"), "{err}");
}
