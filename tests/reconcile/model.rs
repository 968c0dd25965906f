//! Tables for the nouns that plans are made of and from: the answer of a manager, counts, hashes,
//! labels, images, ports, volumes and devices.

use crate::support::{OTHER_UID, answer, app, desired, only, with};
use nebula::model::{
    App, AppFields, AppVersion, Desired, DesiredApp, DesiredError, Identity, ImageReference,
    Labels, Machine, SpecHash, StartingPorts, Uid, Unknown,
};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

fn decode(value: &Value) -> Result<Desired, DesiredError> {
    Desired::decode(value.to_string().as_bytes())
}

/// The reason for which one app cannot be read.
fn unreadable(app: Value) -> String {
    let answer = answer(&[app, crate::support::app("other", "site:1", 1)]);
    let read = decode(&answer).expect("one bad app does not spoil the answer");
    assert!(matches!(&read.apps[1], DesiredApp::Readable(app) if app.app_name.as_str() == "other"));
    match &read.apps[0] {
        DesiredApp::Unreadable { name, reason } => {
            assert_eq!(name, "web");
            reason.clone()
        }
        DesiredApp::Readable(app) => panic!("it was read: {app:?}"),
    }
}

fn set(keys: Value) -> Value {
    with(app("web", "site:1", 1), keys)
}

fn spec_of(keys: Value) -> App {
    only(&desired(&[set(keys)])).clone()
}

// ---- the desired state ----

#[test]
fn inv_20_an_answer_cut_at_any_byte_is_refused() {
    let whole = answer(&[app("web", "site:1", 2), app("db", "db:1", 1)]).to_string();
    assert!(Desired::decode(whole.as_bytes()).is_ok());
    for end in 0..whole.len() {
        assert!(Desired::decode(&whole.as_bytes()[..end]).is_err(), "cut at byte {end}");
    }
}

#[rstest]
#[case::nothing("")]
#[case::space("  \n")]
#[case::page("<html><body>502 Bad Gateway</body></html>")]
#[case::empty_object("{}")]
#[case::empty_list("[]")]
#[case::null("null")]
#[case::number("0")]
#[case::text("\"ok\"")]
#[case::no_such_group(r#"{"device_group_exists": false}"#)]
#[case::no_access(r#"{"access_allowed": false}"#)]
#[case::two_answers(r#"{"apps":[],"apps_list":[],"cron_jobs":[],"cron_jobs_list":[],"prune_id":1,"device_group_id":1}{}"#)]
#[case::not_utf8("\u{0}")]
fn inv_20_an_answer_that_is_no_state_is_refused(#[case] text: &str) {
    assert!(Desired::decode(text.as_bytes()).is_err());
}

#[rstest]
fn inv_20_every_key_is_needed_and_has_its_type(
    #[values("apps", "apps_list", "cron_jobs_list", "prune_id", "device_group_id")] key: &str,
) {
    let whole = answer(&[app("web", "site:1", 1)]);
    let mut lacking = whole.clone();
    lacking.as_object_mut().expect("an object").shift_remove(key);
    assert!(decode(&lacking).is_err(), "without `{key}`");
    for odd in [json!(null), json!("1"), json!({}), json!(-1), json!(1.5), json!(true), json!([1])]
    {
        let mut wrong = whole.clone();
        wrong[key] = odd.clone();
        assert!(decode(&wrong).is_err(), "`{key}` is {odd}");
    }
}

#[rstest]
#[case::app_not_listed(json!([]))]
#[case::listed_twice_too_many(json!(["web", "db"]))]
#[case::another_name(json!(["db"]))]
#[case::other_case(json!(["Web"]))]
fn inv_20_apps_and_their_list_must_agree(#[case] list: Value) {
    let mut differing = answer(&[app("web", "site:1", 1)]);
    differing["apps_list"] = list;
    assert!(decode(&differing).is_err());
}

#[test]
fn inv_20_one_name_twice_or_no_name_is_refused() {
    assert!(decode(&answer(&[app("web", "site:1", 1), app("web", "site:2", 1)])).is_err());
    for name in [json!(null), json!(7), json!(["web"])] {
        assert!(decode(&answer(&[set(json!({"app_name": name}))])).is_err());
    }
}

#[test]
fn unknown_keys_of_a_newer_manager_are_passed_over() {
    let mut newer = answer(&[set(json!({"from_the_future": {"a": [1]}}))]);
    newer["shards"] = json!([1, 2]);
    newer["revision"] = json!(77);
    let read = decode(&newer).expect("it is read");
    assert_eq!(read.revision.map(|revision| revision.0), Some(77));
    assert!(matches!(&read.apps[0], DesiredApp::Readable(_)));
}

#[rstest]
#[case(json!({"app_id": "1"}), "app_id")]
#[case(json!({"app_id": -1}), "app_id")]
#[case(json!({"uid": "short"}), "uid")]
#[case(json!({"uid": 7}), "uid")]
#[case(json!({"revision": "7"}), "revision")]
#[case(json!({"docker_image": ""}), "docker_image")]
#[case(json!({"docker_image": ["site"]}), "docker_image")]
#[case(json!({"running": "true"}), "running")]
#[case(json!({"networks": "nebula"}), "networks")]
#[case(json!({"networks": ["host", "nebula"]}), "networks")]
#[case(json!({"networks": ["a b"]}), "networks")]
#[case(json!({"containers_per": {"server": -1}}), "containers_per")]
#[case(json!({"volumes": ["/a:/b", "/c:/b/"]}), "volumes")]
#[case(json!({"env_vars": {"LONG": "x".repeat(131_072)}}), "env_vars")]
#[case(json!({"env_vars": {"A": 1}}), "env_vars")]
#[case(json!({"devices": ["null"]}), "devices")]
#[case(json!({"starting_ports": [80, 80]}), "starting_ports")]
fn inv_20_an_app_that_cannot_be_read_is_kept_by_name_with_its_field(
    #[case] keys: Value,
    #[case] field: &str,
) {
    let reason = unreadable(set(keys));
    assert!(reason.contains(&format!("`{field}`")), "{reason}");
}

#[test]
fn an_app_with_a_name_that_docker_would_refuse_is_kept_by_that_name() {
    let read = decode(&answer(&[set(json!({"app_name": "a b"}))])).expect("the answer is whole");
    assert!(matches!(&read.apps[0], DesiredApp::Unreadable { name, .. } if name == "a b"));
}

#[test]
fn an_app_of_the_original_has_neither_uid_nor_revision() {
    let mut original = app("web", "site:1", 1);
    original.as_object_mut().expect("an object").shift_remove("uid");
    let read = only(&desired(&[original])).clone();
    assert_eq!(read.identity, Identity::default());
    assert_eq!(read.version().uid, None);
}

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["/a:/b", "host", "80", "site:1", "server"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(
                (prop_oneof![Just("server".to_owned()), Just("80".to_owned()), ".{0,6}"], inner),
                0..5
            )
            .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

const KEYS: [&str; 15] = [
    "app_id",
    "uid",
    "revision",
    "docker_image",
    "starting_ports",
    "containers_per",
    "env_vars",
    "running",
    "networks",
    "volumes",
    "devices",
    "privileged",
    "rolling_restart",
    "_id",
    "other",
];

proptest! {
    #![proptest_config(crate::laws::cases(400))]

    /// Whatever stands in one field, the other apps are read, nothing panics, and what is read
    /// prints back to what reads as the same.
    #[test]
    fn odd_fields_neither_panic_nor_spread(key in prop::sample::select(KEYS.to_vec()), odd in any_json()) {
        let read = decode(&answer(&[set(json!({ key: odd })), app("db", "db:1", 1)]));
        let read = read.expect("an odd field is that app's matter");
        prop_assert_eq!(read.apps.len(), 2);
        prop_assert!(matches!(&read.apps[1], DesiredApp::Readable(_)));
        if let DesiredApp::Readable(app) = &read.apps[0] {
            let printed = serde_json::to_value(app).expect("it prints");
            let again = desired(&[printed]);
            prop_assert_eq!(only(&again), app.as_ref());
        }
    }

    #[test]
    fn odd_answers_never_panic(odd in any_json(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode(&odd);
        let _ = Desired::decode(&bytes);
        let is_empty = decode(&odd).is_ok_and(|read| read.apps.is_empty());
        prop_assert!(!is_empty, "an odd answer was read as an empty state");
    }
}

// ---- counts ----

#[rstest]
#[case(json!({"server": 3}), 4, 8192, 3)]
#[case(json!({"instance": 2}), 1, 1, 2)]
#[case(json!({"server": 0}), 4, 8192, 0)]
#[case(json!({"server": 1000}), 4, 8192, 1000)]
#[case(json!({"cpu": 1}), 4, 8192, 4)]
#[case(json!({"cpu": 3}), 4, 8192, 12)]
#[case(json!({"cpu": 0.5}), 5, 8192, 2)]
#[case(json!({"cpu": 0.1}), 30, 8192, 3)]
#[case(json!({"cpu": 0.1}), 4, 8192, 0)]
#[case(json!({"cpu": 100}), 256, 8192, 25_600)]
#[case(json!({"memory": 512}), 4, 8192, 16)]
#[case(json!({"mem": 512}), 4, 1500, 2)]
#[case(json!({"memory": 10_000}), 4, 8192, 0)]
#[case(json!({"memory": 0.01}), 4, 8192, 819_200)]
fn the_count_follows_the_rule(
    #[case] rule: Value,
    #[case] cores: u32,
    #[case] memory_mb: u64,
    #[case] replicas: u64,
) {
    let app = spec_of(json!({ "containers_per": rule }));
    assert_eq!(app.spec.containers_per.replicas(Machine { cores, memory_mb }), replicas);
}

#[rstest]
#[case(json!({}))]
#[case(json!({"server": 1, "cpu": 1}))]
#[case(json!({"gpu": 1}))]
#[case(json!({"server": 1.5}))]
#[case(json!({"server": 1001}))]
#[case(json!({"server": -1}))]
#[case(json!({"server": "2"}))]
#[case(json!({"cpu": 0}))]
#[case(json!({"cpu": -0.5}))]
#[case(json!({"cpu": 101}))]
#[case(json!({"memory": 0}))]
#[case(json!({"memory": 1e13}))]
#[case(json!([1]))]
fn a_rule_that_makes_no_sense_is_refused(#[case] rule: Value) {
    assert!(unreadable(set(json!({ "containers_per": rule }))).contains("containers_per"));
}

// ---- versions ----

/// This literal changes only when every container of every fleet is meant to be restarted.
#[test]
fn the_hash_of_a_spec_is_the_same_in_every_release() {
    let app = spec_of(json!({
        "starting_ports": [80, {"443": "8443"}], "env_vars": {"B": "2", "A": "1"},
        "volumes": ["/data:/data:ro"], "devices": ["/dev/snd"], "privileged": true,
    }));
    assert_eq!(app.spec.hash().as_str(), "dfa04ffa0761ca327b141c6696659bb8");
}

#[test]
fn the_hash_sees_what_shapes_a_container_and_nothing_else() {
    let base = spec_of(json!({})).spec.hash();
    for shaping in [
        json!({"docker_image": "site:2"}),
        json!({"starting_ports": [80]}),
        json!({"env_vars": {"A": "1"}}),
        json!({"networks": ["nebula"]}),
        json!({"volumes": ["/a:/b"]}),
        json!({"devices": ["/dev/snd"]}),
        json!({"privileged": true}),
    ] {
        assert_ne!(spec_of(shaping.clone()).spec.hash(), base, "{shaping}");
    }
    for other in [
        json!({"containers_per": {"server": 9}}),
        json!({"running": false}),
        json!({"rolling_restart": true}),
        json!({"app_id": 9}),
        json!({"env_vars": []}),
    ] {
        assert_eq!(spec_of(other.clone()).spec.hash(), base, "{other}");
    }
    let same = |a: Value, b: Value| assert_eq!(spec_of(a).spec.hash(), spec_of(b).spec.hash());
    same(json!({"starting_ports": [80]}), json!({"starting_ports": [{"80": "80"}]}));
    same(json!({"starting_ports": [{"80": 81}]}), json!({"starting_ports": [{"80": "81"}]}));
    same(json!({"env_vars": {"A": "1", "B": "2"}}), json!({"env_vars": {"B": "2", "A": "1"}}));
}

// ---- labels ----

#[expect(clippy::disallowed_types, reason = "Docker's client gives one; it is only looked up")]
type DockerLabels = std::collections::HashMap<String, String>;

fn map(labels: &[(&str, &str)]) -> DockerLabels {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn labels_are_read_back_as_they_were_written() {
    for uid in [None, Uid::parse(OTHER_UID)] {
        let version = AppVersion { uid, app_id: 7, spec: SpecHash::of(b"x") };
        let labels = Labels { app: "web-1".to_owned(), replica: 3, version: version.clone() };
        let written: DockerLabels = labels.to_map().into_iter().collect();
        let read = Labels::read(&written, "any-name");
        assert_eq!(read, Some(("web-1".to_owned(), Some(3), Some(version))));
    }
}

#[rstest]
#[case::by_its_name("web-3", Some(3))]
#[case::next("web-3-next", None)]
#[case::other_name("db-3", None)]
#[case::no_number("web-x", None)]
#[case::bare("web", None)]
#[case::huge("web-99999999999", None)]
fn a_container_of_the_original_is_ours_and_its_name_tells_the_replica(
    #[case] name: &str,
    #[case] replica: Option<u32>,
) {
    let labels = map(&[("orchestrator", "nebula"), ("app_name", "web")]);
    assert_eq!(Labels::read(&labels, name), Some(("web".to_owned(), replica, None)));
}

#[rstest]
#[case::no_labels(&[])]
#[case::no_orchestrator(&[("app_name", "web")])]
#[case::other_orchestrator(&[("orchestrator", "swarm"), ("app_name", "web")])]
#[case::no_app(&[("orchestrator", "nebula")])]
#[case::cron_job(&[("orchestrator", "nebula"), ("app_name", "web"), ("container_type", "cron_job")])]
#[case::bad_name(&[("orchestrator", "nebula"), ("app_name", "a b")])]
#[case::empty_name(&[("orchestrator", "nebula"), ("app_name", "")])]
#[case::like_a_path(&[("orchestrator", "nebula"), ("app_name", "../web")])]
fn what_is_not_an_apps_container_is_not_touched(#[case] labels: &[(&str, &str)]) {
    assert_eq!(Labels::read(&map(labels), "web-1"), None);
}

#[rstest]
#[case::bad_uid("nebula.uid", "zz")]
#[case::bad_id("nebula.app_id", "one")]
fn labels_that_were_tampered_with_give_no_version(#[case] key: &str, #[case] value: &str) {
    let version = AppVersion { uid: Uid::parse(OTHER_UID), app_id: 7, spec: SpecHash::of(b"x") };
    let labels = Labels { app: "web".to_owned(), replica: 3, version };
    let mut written: DockerLabels = labels.to_map().into_iter().collect();
    written.insert(key.to_owned(), value.to_owned());
    assert_eq!(Labels::read(&written, "web-3"), Some(("web".to_owned(), Some(3), None)));
}

// ---- images ----

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[rstest]
#[case("nginx", "nginx:latest")]
#[case("nginx:1", "nginx:1")]
#[case("library/nginx", "nginx:latest")]
#[case("docker.io/nginx", "nginx:latest")]
#[case("docker.io/library/nginx:1", "nginx:1")]
#[case("index.docker.io/library/nginx:1", "nginx:1")]
#[case("team/app", "team/app:latest")]
#[case("docker.io/team/app:v1.2_3-x", "team/app:v1.2_3-x")]
#[case("localhost/app", "localhost/app:latest")]
#[case("localhost:5000/app:1", "localhost:5000/app:1")]
#[case("r.example/team/app", "r.example/team/app:latest")]
#[case("r.example:5000/library/app:1", "r.example:5000/library/app:1")]
#[case("10.0.0.1:5000/a/b/c:1", "10.0.0.1:5000/a/b/c:1")]
#[case("[::1]:5000/app:1", "[::1]:5000/app:1")]
#[case("a__b/c--d/e.f", "a__b/c--d/e.f:latest")]
fn an_image_is_found_under_the_name_docker_lists(#[case] given: &str, #[case] familiar: &str) {
    let image = ImageReference::parse(given).expect("a good reference");
    assert_eq!((image.as_str(), image.familiar().as_str()), (given, familiar));
}

#[test]
fn an_image_with_a_digest_is_found_by_it() {
    for tag in ["", ":1"] {
        let image = ImageReference::parse(&format!("docker.io/library/nginx{tag}@{DIGEST}"));
        assert_eq!(image.map(|i| i.familiar()), Ok(format!("nginx@{DIGEST}")));
    }
}

#[rstest]
#[case("")]
#[case(" ")]
#[case("nginx ")]
#[case("NGINX")]
#[case("team/NGINX")]
#[case("/nginx")]
#[case("nginx/")]
#[case("a//b")]
#[case("nginx:")]
#[case("nginx:-1")]
#[case("nginx:a b")]
#[case("nginx:1:2")]
#[case("nginx@sha256:12")]
#[case("nginx@")]
#[case("-nginx")]
#[case("nginx-")]
#[case("a___b")]
#[case("a..b")]
#[case("a._b")]
#[case("r.example:/app")]
#[case("r.example:99999/app")]
#[case("-r.example/app")]
#[case("[::1/app")]
#[case("http://r.example/app")]
#[case("näme")]
fn what_docker_would_refuse_as_an_image_is_refused(#[case] given: &str) {
    assert!(ImageReference::parse(given).is_err());
}

#[test]
fn an_image_has_dockers_own_limits() {
    let tag = |length: usize| ImageReference::parse(&format!("a:{}", "t".repeat(length)));
    assert!(tag(128).is_ok() && tag(129).is_err());
    let path = |length: usize| ImageReference::parse(&"a".repeat(length));
    assert!(path(255).is_ok() && path(256).is_err());
}

// ---- ports, volumes, devices ----

#[rstest]
#[case(json!([]), &[])]
#[case(json!([80]), &[(80, 80)])]
#[case(json!([{"80": "8080"}]), &[(80, 8080)])]
#[case(json!([{"80": 8080}]), &[(80, 8080)])]
#[case(json!([80, {"443": "8443", "90": 91}]), &[(80, 80), (443, 8443), (90, 91)])]
#[case(json!([65535]), &[(65535, 65535)])]
fn ports_are_read_in_both_forms(#[case] given: Value, #[case] expected: &[(u16, u16)]) {
    let app = spec_of(json!({"starting_ports": given.clone()}));
    let mappings = app.spec.starting_ports.mappings();
    let read: Vec<(u16, u16)> = mappings.iter().map(|m| (m.host, m.container)).collect();
    assert_eq!(read, expected);
    assert_eq!(serde_json::to_value(&app.spec.starting_ports).ok(), Some(given));
}

/// An address of the device, a port, a port of the container and what is spoken.
#[rstest]
#[case(json!({"127.0.0.1:8080": "80/udp"}), "127.0.0.1:8080:80/udp")]
#[case(json!({"127.0.0.1:8080": 80}), "127.0.0.1:8080:80")]
#[case(json!({"8080": "80/tcp"}), "8080:80")]
#[case(json!({"8080": "80/sctp"}), "8080:80/sctp")]
#[case(json!({"[::1]:8080": "80"}), "[::1]:8080:80")]
#[case(json!({"0.0.0.0:8080": "80"}), "0.0.0.0:8080:80")]
fn ports_have_an_address_and_a_protocol(#[case] given: Value, #[case] expected: &str) {
    let app = spec_of(json!({"starting_ports": [given]}));
    let mappings = app.spec.starting_ports.mappings();
    assert_eq!(mappings.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    assert_eq!(serde_json::to_value(&app.spec.starting_ports).ok(), Some(json!([given])));
}

#[rstest]
#[case(json!({"localhost:80": 80}), "no address of a device")]
#[case(json!({"::1:80": 80}), "[IPV6]:PORT")]
#[case(json!({"[127.0.0.1]:80": 80}), "no address of a device")]
#[case(json!({"224.0.0.1:80": 80}), "no address of a device")]
#[case(json!({":80": 80}), "no address of a device")]
#[case(json!({"80": "80/icmp"}), "PORT/udp")]
#[case(json!({"80": "80/UDP"}), "PORT/udp")]
#[case(json!({"127.0.0.1:0": 80}), "invalid port")]
#[case(json!({"80": "0/udp"}), "invalid port")]
#[case(json!({"127.0.0.1:80": 80, "0.0.0.0:80": 81}), "given twice")]
#[case(json!({"127.0.0.1:80": 80, "80": 81}), "given twice")]
fn a_port_that_no_device_binds_is_refused_with_what_to_write(
    #[case] given: Value,
    #[case] words: &str,
) {
    let reason = unreadable(set(json!({"starting_ports": [given]})));
    assert!(reason.contains(words), "{reason}");
}

#[test]
fn ports_that_differ_in_address_or_protocol_can_be_bound_side_by_side() {
    let ports =
        json!([53, {"53": "53/udp"}, {"127.0.0.1:80": 80, "127.0.0.2:80": 80, "[::1]:80": 80}]);
    spec_of(json!({ "starting_ports": ports }));
    let hash = |ports: Value| spec_of(json!({ "starting_ports": [ports] })).spec.hash();
    assert_eq!(hash(json!({"80": "80/tcp"})), hash(json!(80)));
    assert_ne!(hash(json!({"80": "80/udp"})), hash(json!(80)));
    assert_ne!(hash(json!({"127.0.0.1:80": 80})), hash(json!(80)));
}

#[rstest]
#[case::zero(json!([0]), "invalid port", false)]
#[case::past_the_last(json!([65536]), "invalid port", false)]
#[case::negative(json!([-1]), "invalid port", false)]
#[case::pair_past_the_last(json!([{"80": 70000}]), "invalid port", false)]
#[case::host_past_the_last(json!([{"70000": 80}]), "invalid port", false)]
#[case::text(json!(["80"]), "can only be a list containing integers or dicts", true)]
#[case::fraction(json!([80.5]), "can only be a list containing integers or dicts", true)]
#[case::word(json!([{"http": 80}]), "can only be a list containing integers or dicts", true)]
#[case::no_list(json!(80), "can only be a list containing integers or dicts", true)]
#[case::null(json!([null]), "can only be a list containing integers or dicts", true)]
fn bad_ports_are_refused_in_the_originals_words(
    #[case] given: Value,
    #[case] words: &str,
    #[case] is_form: bool,
) {
    let body = json!({"docker_image": "site:1", "starting_ports": given});
    let Value::Object(body) = body else { unreachable!() };
    let refused = AppFields::decode(body, None, Unknown::Refuse).expect_err("refused");
    assert_eq!(refused.fields.get("starting_ports").map(String::as_str), Some(words));
    assert_eq!(refused.ports_form, is_form);
}

#[rstest]
#[case(&[80], 3, true)]
#[case(&[65533], 3, true)]
#[case(&[65534], 3, false)]
#[case(&[80, 83], 3, true)]
#[case(&[80, 82], 3, false)]
#[case(&[82, 80], 3, false)]
#[case(&[80, 80], 1, false)]
#[case(&[80, 81], 0, true)]
#[case(&[], 1000, true)]
fn ports_fit_a_count_or_not(#[case] ports: &[u16], #[case] replicas: u32, #[case] fits: bool) {
    let declared: StartingPorts = match desired(&[set(json!({
        "starting_ports": ports, "containers_per": {"cpu": 1},
    }))])
    .apps
    .remove(0)
    {
        DesiredApp::Readable(app) => app.spec.starting_ports,
        DesiredApp::Unreadable { .. } => {
            assert!(!fits);
            return;
        }
    };
    assert_eq!(declared.check(replicas).is_ok(), fits);
}

#[rstest]
#[case("data:/b/../..", None)]
#[case("data:/b/./c//", Some("/b/c"))]
#[case("/a\n:/b", None)]
#[case("/a:/b", Some("/b"))]
#[case("/a:/b:ro", Some("/b"))]
#[case("/a:/b/:ro,Z", Some("/b"))]
#[case("data:/b", Some("/b"))]
#[case("/a:/b:ro,Z,rslave", Some("/b"))]
#[case("data:/b:nocopy,ro", Some("/b"))]
#[case("/a:/b:ro,rw", None)]
#[case("/a:/b:z,Z", None)]
#[case("/a:/b:ro,ro", None)]
#[case("/a:/b:nocopy", None)]
#[case("data:/b:private", None)]
#[case("a:/b", None)]
#[case("./a:/b", None)]
#[case("/a", None)]
#[case("/a:b", None)]
#[case("/a:/", None)]
#[case("/a:/b:rx", None)]
#[case("/a:/b:ro:z", None)]
#[case("/a:/b:", None)]
#[case(":/b", None)]
#[case("/a\0:/b", None)]
fn a_volume_is_read_or_refused(#[case] given: &str, #[case] target: Option<&str>) {
    let keys = json!({"volumes": [given]});
    match target {
        Some(target) => {
            let app = spec_of(keys);
            assert_eq!(app.spec.container.volumes[0].target(), target);
            assert_eq!(app.spec.container.volumes[0].as_str(), given);
        }
        None => assert!(unreadable(set(keys)).contains("volumes")),
    }
}

#[rstest]
#[case("/dev/snd", Some(("/dev/snd", "/dev/snd", "rwm")))]
#[case("/dev/a:/dev/b", Some(("/dev/a", "/dev/b", "rwm")))]
#[case("/dev/a:/dev/b:r", Some(("/dev/a", "/dev/b", "r")))]
#[case("snd", None)]
#[case("/dev/a:b", None)]
#[case("/dev/a:/dev/b:x", None)]
#[case("/dev/a:/dev/b:", None)]
#[case("/a:/b:r:w", None)]
fn a_device_is_read_or_refused(#[case] given: &str, #[case] parts: Option<(&str, &str, &str)>) {
    let keys = json!({"devices": [given]});
    match parts {
        Some(parts) => {
            let app = spec_of(keys);
            let device = &app.spec.container.devices[0];
            let read = (&*device.on_host, &*device.in_container, &*device.permissions);
            assert_eq!(read, parts);
        }
        None => assert!(unreadable(set(keys)).contains("devices")),
    }
}
