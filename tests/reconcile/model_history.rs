//! What an app's versions tell, and which one is gone back to.

use nebula::model::{
    App, AppEntry, AppFields, AppHistory, Author, Identity, Name, Revision, Uid, Unknown,
    changed_fields,
};
use rstest::rstest;
use serde_json::{Value, json};

const NOW: i64 = 1_700_000_000;

#[expect(clippy::needless_pass_by_value, reason = "the tables read better without references")]
fn app(app_id: u64, body: Value) -> App {
    let mut fields = json!({ "docker_image": "nginx:1" });
    for (key, value) in body.as_object().expect("an object") {
        fields[key] = value.clone();
    }
    let fields = fields.as_object().expect("an object").clone();
    let fields = AppFields::decode(fields, None, Unknown::Refuse).expect("fields of an app");
    App {
        identity: Identity {
            uid: Some(Uid::from_bytes([1; 12])),
            revision: Some(Revision(app_id * 1_000)),
        },
        app_id,
        app_name: Name::new("web").expect("a name"),
        spec: fields.into_spec().expect("a whole app"),
    }
}

fn image(app_id: u64, image: &str) -> App {
    app(app_id, json!({ "docker_image": image }))
}

fn entry(app: App, who: &str, what: &str) -> AppEntry {
    let time = i64::try_from(app.app_id).expect("a small id");
    AppEntry { app, time, author: Author::new(who, what) }
}

/// The history of the last of these versions.
fn history(versions: &[App]) -> AppHistory {
    let present = versions.last().expect("a version").clone();
    let kept = versions.iter().rev().map(|app| entry(app.clone(), "ann", "update")).collect();
    AppHistory::new(present, kept, NOW)
}

#[rstest]
#[case::nothing(json!({}), json!({}), json!([]))]
#[case::image(
    json!({ "docker_image": "a:1" }), json!({ "docker_image": "a:2" }),
    json!([{ "key": "docker_image", "from": "a:1", "to": "a:2" }])
)]
#[case::set(
    json!({}), json!({ "mem_limit": "1g" }), json!([{ "key": "mem_limit", "to": "1g" }])
)]
#[case::taken_away(
    json!({ "mem_limit": "1g" }), json!({}), json!([{ "key": "mem_limit", "from": "1g" }])
)]
#[case::two(
    json!({ "running": true }), json!({ "running": false, "volumes": ["/a:/b"] }),
    json!([
        { "key": "volumes", "from": [], "to": ["/a:/b"] },
        { "key": "running", "from": true, "to": false },
    ])
)]
#[case::variables(
    json!({ "env_vars": { "GONE": "s1", "KEPT": "s2", "OTHER": "s3" } }),
    json!({ "env_vars": { "KEPT": "s2", "OTHER": "s4", "NEW": "s5" } }),
    json!([{
        "key": "env_vars", "from": ["GONE", "KEPT", "OTHER"], "to": ["KEPT", "NEW", "OTHER"],
        "changed_variables": ["OTHER"],
    }])
)]
#[case::no_variables_in_two_forms(json!({ "env_vars": [] }), json!({ "env_vars": {} }), json!([]))]
fn changes_are_told_without_values_of_variables(
    #[case] from: Value,
    #[case] to: Value,
    #[case] expected: Value,
) {
    let changed = changed_fields(&app(1, from).spec, &app(2, to).spec);
    assert_eq!(json!(changed), expected);
}

#[rstest]
#[case::the_one_before(&["a:1", "a:2"], None, Ok("a:1"))]
#[case::past_restarts(&["a:1", "a:2", "a:2", "a:2"], None, Ok("a:1"))]
#[case::an_undone_one_comes_back(&["a:1", "a:2", "a:1"], None, Ok("a:2"))]
#[case::by_id(&["a:1", "a:2", "a:3"], Some(1), Ok("a:1"))]
#[case::the_same_by_id(&["a:1", "a:2", "a:2"], Some(2), Ok("a:2"))]
#[case::the_present(&["a:1", "a:2"], Some(2), Err("2 is the present version"))]
#[case::unknown(&["a:1", "a:2"], Some(7), Err("7 is not among the last 50 versions"))]
#[case::only_one(&["a:1"], None, Err("no kept version differs"))]
#[case::all_the_same(&["a:1", "a:1"], None, Err("no kept version differs"))]
fn a_rollback_finds_its_version(
    #[case] images: &[&str],
    #[case] wanted: Option<u64>,
    #[case] expected: Result<&str, &str>,
) {
    let versions: Vec<App> = (1..).zip(images).map(|(id, name)| image(id, name)).collect();
    let present = versions.last().expect("a version");
    match (history(&versions).rolled_back(present, wanted), expected) {
        (Ok(app), Ok(name)) => {
            assert_eq!(app.spec.container.docker_image.to_string(), name);
            assert_eq!(app.app_id, present.app_id + 1);
            assert_eq!((app.identity, &app.app_name), (present.identity, &present.app_name));
        }
        (Err(invalid), Err(reason)) => {
            assert!(invalid.fields["app_id"].starts_with(reason), "{invalid}");
        }
        (found, expected) => panic!("{found:?}, expected {expected:?}"),
    }
}

#[test]
fn a_rollback_neither_starts_nor_stops() {
    let first = app(1, json!({ "docker_image": "a:1", "running": true }));
    let present = app(2, json!({ "docker_image": "a:2", "running": false }));
    let back = history(&[first.clone(), present.clone()]).rolled_back(&present, None);
    let back = back.expect("there is a version");
    assert!(!back.spec.running);
    assert_eq!(back.spec.container, first.spec.container);
    // To be stopped alone is no difference.
    let stopped = app(2, json!({ "docker_image": "a:1", "running": false }));
    history(&[first, stopped.clone()]).rolled_back(&stopped, None).expect_err("nothing to undo");
}

#[test]
fn a_version_that_came_after_the_history_was_read_is_gone_back_from() {
    let (first, second, third) = (image(1, "a:1"), image(2, "a:2"), image(3, "a:3"));
    let read = history(&[first, second.clone()]);
    let back = read.rolled_back(&third, None).expect("there is a version");
    assert_eq!(back.spec, second.spec);
    assert_eq!(back.app_id, 4);
    // Of another app by the same name nothing is known.
    let identity = Identity { uid: Some(Uid::from_bytes([2; 12])), revision: None };
    read.rolled_back(&App { identity, ..third }, None).expect_err("it is another app");
}

#[test]
fn the_present_version_is_there_though_nobody_kept_it() {
    let (first, present) = (image(1, "a:1"), image(2, "a:2"));
    let kept = vec![entry(first, "ann", "create")];
    let history = AppHistory::new(present.clone(), kept, NOW);
    let [newest, _] = history.entries() else { panic!("{history:?}") };
    assert_eq!((&newest.app, &newest.author), (&present, &Author::elsewhere()));
    assert_eq!(newest.time, 2, "as its revision says");
    // A revision of a clock that is ahead is of now, and so is one of nobody.
    let identity = |revision| Identity { revision, ..present.identity };
    for revision in [Some(Revision(u64::MAX)), None] {
        let app = App { identity: identity(revision), ..present.clone() };
        assert_eq!(AppEntry::found(app, NOW).time, NOW);
    }
    // To be put in order is no new version.
    let ordered = App { identity: identity(Some(Revision(9_999))), ..present.clone() };
    let kept = vec![entry(present, "ann", "update")];
    assert_eq!(AppHistory::new(ordered, kept, NOW).entries().len(), 1);
}

#[rstest]
#[case::found_first(["", "ann"])]
#[case::found_after(["ann", ""])]
fn what_was_found_and_kept_is_told_once_with_its_author(#[case] who: [&str; 2]) {
    let present = image(2, "a:2");
    let twin = |who: &str| {
        let author = if who.is_empty() { Author::elsewhere() } else { Author::new(who, "update") };
        AppEntry { app: present.clone(), time: 5, author }
    };
    let mut kept: Vec<AppEntry> = who.into_iter().map(twin).collect();
    kept.push(entry(image(1, "a:1"), "bob", "create"));
    let told = json!(AppHistory::new(present.clone(), kept, NOW));
    let expected = json!({ "history": [
        {
            "app_id": 2, "revision": 2_000, "time": 5, "who": "ann", "what": "update",
            "changed": [{ "key": "docker_image", "from": "a:1", "to": "a:2" }],
        },
        { "app_id": 1, "revision": 1_000, "time": 1, "who": "bob", "what": "create", "changed": [] },
    ] });
    assert_eq!(told, expected);
}
