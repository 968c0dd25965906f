//! Tables and laws for who may do what: credentials as they come, tokens, users, user groups and
//! the rights that come of them.

use nebula::model::{
    Access, AccountName, Granted, Identity, MAX_SECRET_BYTES, Presented, Revision, Rights, Secret,
    SecretHash, Uid, Unknown, User, UserFields, UserGroup, UserGroupFields, UserGroupSpec,
    new_token, token_id,
};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};
use std::sync::Arc;

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { unreachable!("the test gives an object") };
    map
}

// ---- tokens ----

#[rstest]
#[case("nebula_0123456789abcdef_s", Some("0123456789abcdef"))]
#[case("nebula_0123456789abcdef_s_with_more_", Some("0123456789abcdef"))]
#[case("nebula_0123456789abcdef__", Some("0123456789abcdef"))]
#[case::no_secret("nebula_0123456789abcdef_", None)]
#[case::no_end("nebula_0123456789abcdef", None)]
#[case::short("nebula_0123456789abcde_s", None)]
#[case::long("nebula_0123456789abcdef0_s", None)]
#[case::upper("nebula_0123456789ABCDEF_s", None)]
#[case::no_hex("nebula_0123456789abcdeg_s", None)]
#[case::other_prefix("Nebula_0123456789abcdef_s", None)]
#[case::inside("xnebula_0123456789abcdef_s", None)]
#[case::blank(" nebula_0123456789abcdef_s", None)]
#[case::empty("", None)]
#[case::not_ascii("nebula_ääääääää_s", None)]
fn a_token_tells_its_id_or_has_none(#[case] token: &str, #[case] id: Option<&str>) {
    assert_eq!(token_id(token), id);
}

proptest! {
    #![proptest_config(crate::laws::cases(300))]

    #[test]
    fn a_new_token_tells_the_id_it_was_made_with(id: [u8; 8], secret in "[A-Za-z0-9_-]{43}") {
        let token = new_token(id, &secret);
        let expected = format!("{:016x}", u64::from_be_bytes(id));
        prop_assert_eq!(token_id(token.expose()), Some(&*expected));
        prop_assert!(token.expose().ends_with(&secret));
        prop_assert!(token.expose().len() <= MAX_SECRET_BYTES, "bcrypt reads all of it");
        // It may be set as a user's token, as it is.
        let fields = UserFields::decode(object(json!({ "token": token.expose() })), None);
        prop_assert!(fields.is_ok());
    }

    #[test]
    fn odd_tokens_never_panic(token in ".{0,40}") {
        let _ = token_id(&token);
        let _ = token_id(&format!("nebula_{token}"));
    }
}

// ---- credentials ----

fn basic(user: &str, password: &[u8]) -> Presented {
    Presented::Basic { user: user.to_owned(), password: password.to_owned() }
}

#[rstest]
#[case("Basic dXNlcjpwYXNz", Some(basic("user", b"pass")))]
#[case("basic dXNlcjpwYXNz", Some(basic("user", b"pass")))]
#[case("BASIC   dXNlcjpwYXNz  ", Some(basic("user", b"pass")))]
#[case::only_the_first_colon("Basic YTpiOmM6", Some(basic("a", b"b:c:")))]
#[case::unpadded("Basic dTpw", Some(basic("u", b"p")))]
#[case::padded("Basic dTo=", Some(basic("u", b"")))]
#[case::padding_left_out("Basic dTo", Some(basic("u", b"")))]
#[case::nobody("Basic Og==", Some(basic("", b"")))]
#[case::no_utf8("Basic dTr/gA==", Some(basic("u", b"\xff\x80")))]
#[case::user_no_utf8("Basic /zpw", None)]
#[case::no_colon("Basic dXNlcg==", None)]
#[case::no_base64("Basic !!!", None)]
#[case::url_alphabet("Basic dTr_gA==", None)]
#[case::two("Basic dTpw dTpw", None)]
#[case::nothing("Basic ", None)]
#[case::no_blank("Basic", None)]
#[case::tab("Basic\tdTpw", None)]
#[case("Bearer a-token", Some(Presented::Bearer(b"a-token".to_vec())))]
#[case("bearer  a b ", Some(Presented::Bearer(b"a b".to_vec())))]
#[case::no_token("Bearer ", None)]
#[case::no_token_at_all("Bearer", None)]
#[case::other("Digest dTpw", None)]
#[case::none("", None)]
#[case::leading_blank(" Basic dTpw", None)]
fn a_header_is_read_or_is_nobody_s(#[case] value: &str, #[case] presented: Option<Presented>) {
    assert_eq!(Presented::parse(value.as_bytes()), presented);
}

proptest! {
    #![proptest_config(crate::laws::cases(300))]

    #[test]
    fn odd_headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = Presented::parse(&bytes);
        let _ = Presented::parse(&[b"Basic ", &*bytes].concat());
    }
}

// ---- users ----

fn ann() -> Value {
    json!({
        "user_name": "ann", "password": "$2b$12$hash-of-password", "token": "$2b$12$hash-of-token",
        "token_id": "0123456789abcdef", "uid": "0123456789abcdef01234567", "revision": 7,
    })
}

#[test]
fn a_user_prints_as_it_was_read() {
    for key in ["", "token_id", "uid", "revision"] {
        let mut whole = object(ann());
        whole.shift_remove(key);
        let user = User::decode(whole.clone()).expect("a whole user");
        assert_eq!(serde_json::to_value(&user).ok(), Some(Value::Object(whole)), "without `{key}`");
    }
    // Keys of the original's and of newer releases are left alone.
    let mut more = object(ann());
    more.insert("_id".to_owned(), json!({ "$oid": "x" }));
    more.insert("colour".to_owned(), json!("red"));
    assert!(User::decode(more).is_ok());
    for key in ["user_name", "password", "token"] {
        let mut less = object(ann());
        less.shift_remove(key);
        let refused = User::decode(less).expect_err("it is needed");
        assert!(refused.fields.contains_key(key), "{key}");
    }
}

#[test]
fn a_new_token_takes_its_id_along_and_one_without_takes_the_old_one_away() {
    let mut user = User::decode(object(ann())).expect("a whole user");
    user.set_token(&new_token([9; 8], "s"), SecretHash::new("h1"));
    assert_eq!(user.token_id.as_deref(), Some("0909090909090909"));
    user.set_token(&Secret::new("any-text".to_owned()), SecretHash::new("h2"));
    assert_eq!((user.token_id.as_deref(), user.token.as_str()), (None, "h2"));
}

#[test]
fn inv_30_nothing_secret_is_printed_by_debug() {
    let user = User::decode(object(ann())).expect("a whole user");
    let given = json!({ "password": "s3cret-1", "token": "s3cret-2" });
    let fields = UserFields::decode(object(given), None).expect("good fields");
    let refused = UserFields::decode(
        object(json!({ "password": "s3cret\n", "token": "s3cret ", "user_name": "s3cret" })),
        Some("ann"),
    );
    let refused = refused.expect_err("bad fields");
    for printed in [
        format!("{user:?} {user:#?}"),
        format!("{fields:?} {fields:#?}"),
        format!("{refused:?} {refused}"),
        format!("{:?}", SecretHash::new("hash-of-x")),
        format!("{:?}", Secret::new("s3cret".to_owned())),
        format!("{}", Secret::new("s3cret".to_owned())),
        format!("{:?}", new_token([1; 8], "s3cret")),
        format!("{:?}", basic("s3cret", b"s3cret")),
        format!("{:?}", Presented::Bearer(b"s3cret".to_vec())),
        // As numbers, too.
        format!("{:?}", Presented::Bearer(vec![115, 51])).replace("115", "s3cret"),
    ] {
        assert!(!printed.contains("s3cret") && !printed.contains("hash-of"), "{printed}");
    }
}

#[rstest]
#[case("ann", true)]
#[case("ann@example.com", true)]
#[case("Jörg  K", true)]
#[case("50%", true)]
#[case("a.b", true)]
#[case("...", true)]
#[case("", false)]
#[case(" a", false)]
#[case("a\u{a0}", false)]
#[case("a:b", false)]
#[case("a/b", false)]
#[case("a\nb", false)]
#[case("a\0", false)]
#[case("a\u{85}b", false)]
#[case("\u{fffd}", false)]
#[case(".", false)]
#[case("..", false)]
fn a_name_of_a_person_is_read_or_refused(#[case] name: &str, #[case] is_good: bool) {
    assert_eq!(AccountName::new(name).is_ok(), is_good);
}

#[test]
fn a_name_of_a_person_has_a_limit_in_bytes() {
    assert!(AccountName::new("x".repeat(128)).is_ok());
    assert!(AccountName::new("x".repeat(129)).is_err());
    assert!(AccountName::new("ä".repeat(65)).is_err());
}

// ---- user groups and rights ----

fn spec(body: Value) -> UserGroupSpec {
    let fields = UserGroupFields::decode(object(body), None, Unknown::Refuse);
    UserGroupSpec::default().with(fields.expect("good fields"))
}

#[test]
fn a_user_group_prints_as_it_was_read_and_defaults_to_nothing() {
    let whole = json!({
        "user_group": "ops", "group_members": ["ann", "Bob"], "pruning_allowed": true,
        "apps": { "a": "ro", "b": "rw" }, "device_groups": { "": "rw" }, "cron_jobs": {},
        "admin": true, "uid": "0123456789abcdef01234567", "revision": 7,
    });
    let group = UserGroup::decode(object(whole.clone())).expect("a whole group");
    assert_eq!(group.identity.revision, Some(Revision(7)));
    assert_eq!(group.identity.uid, Uid::parse("0123456789abcdef01234567"));
    assert_eq!(serde_json::to_value(&group).ok(), Some(whole));
    // A document of the original may lack keys: what is not there is not permitted.
    let bare = UserGroup::decode(object(json!({ "user_group": "ops", "_id": 1, "other": 2 })));
    let bare = bare.expect("a bare group");
    assert_eq!((bare.spec, bare.identity), (UserGroupSpec::default(), Identity::default()));
    for odd in
        [json!({ "admin": "true" }), json!({ "apps": { "a": "root" } }), json!({ "apps": [] })]
    {
        let mut body = object(odd);
        body.insert("user_group".to_owned(), json!("ops"));
        assert!(UserGroup::decode(body).is_err(), "an odd permission is none");
    }
}

#[test]
fn rights_are_the_union_and_the_stronger_grant_wins() {
    let weak = spec(json!({ "apps": { "a": "ro", "b": "rw" }, "pruning_allowed": true }));
    let strong = spec(json!({ "apps": { "a": "rw", "b": "ro" }, "cron_jobs": { "c": "ro" } }));
    let rights = union([&weak, &strong]);
    for (kind, name, access, allowed) in [
        (Granted::App, "a", Access::Write, true),
        (Granted::App, "b", Access::Write, true),
        (Granted::App, "b", Access::Read, true),
        (Granted::CronJob, "c", Access::Read, true),
        (Granted::CronJob, "c", Access::Write, false),
        (Granted::CronJob, "a", Access::Read, false),
        (Granted::DeviceGroup, "a", Access::Read, false),
        (Granted::App, "c", Access::Read, false),
        (Granted::App, "A", Access::Read, false),
        (Granted::App, "", Access::Read, false),
    ] {
        assert_eq!(rights.allow(kind, name, access), allowed, "{kind:?} {name} {access:?}");
    }
    assert_eq!((rights.may_prune(), rights.is_admin()), (true, false));
    assert!(Rights::all().allow(Granted::App, "any", Access::Write));
    assert_eq!(table(&union([])), table(&Rights::default()));
}

fn union<'a>(groups: impl IntoIterator<Item = &'a UserGroupSpec>) -> Rights {
    Rights::of(groups.into_iter().cloned().map(Arc::new).collect())
}

/// All that some rights allow, among the names that the laws draw.
fn table(rights: &Rights) -> Vec<bool> {
    let mut all = vec![rights.is_admin(), rights.may_prune()];
    for kind in KINDS {
        for name in NAMES {
            all.push(rights.allow(kind, name, Access::Read));
            all.push(rights.allow(kind, name, Access::Write));
        }
    }
    all
}

const KINDS: [Granted; 3] = [Granted::App, Granted::DeviceGroup, Granted::CronJob];
const NAMES: [&str; 4] = ["a", "b", "A", ""];

fn key(kind: Granted) -> &'static str {
    match kind {
        Granted::App => "apps",
        Granted::DeviceGroup => "device_groups",
        Granted::CronJob => "cron_jobs",
    }
}

prop_compose! {
    /// A group as a body, so that the laws look at what was asked for.
    fn any_group()(
        grants in prop::collection::vec((0..3_usize, 0..4_usize, any::<bool>()), 0..6),
        admin in prop::bool::weighted(0.1),
        pruning in any::<bool>(),
    ) -> Value {
        let mut body = json!({ "admin": admin, "pruning_allowed": pruning });
        for (kind, name, is_write) in grants {
            body[key(KINDS[kind])][NAMES[name]] = if is_write { "rw" } else { "ro" }.into();
        }
        body
    }
}

proptest! {
    #![proptest_config(crate::laws::cases(400))]

    #[test]
    fn inv_07_what_no_group_grants_is_not_allowed(groups in prop::collection::vec(any_group(), 0..4)) {
        let specs: Vec<UserGroupSpec> = groups.iter().cloned().map(spec).collect();
        let rights = union(&specs);
        let has = |flag: &str| groups.iter().any(|group| group[flag] == json!(true));
        prop_assert_eq!(rights.is_admin(), has("admin"));
        prop_assert_eq!(rights.may_prune(), has("admin") || has("pruning_allowed"));
        for kind in KINDS {
            for name in NAMES {
                let given = |access: &str| groups.iter().any(|g| g[key(kind)][name] == json!(access));
                let write = has("admin") || given("rw");
                let read = write || given("ro");
                prop_assert_eq!(rights.allow(kind, name, Access::Write), write);
                prop_assert_eq!(rights.allow(kind, name, Access::Read), read);
            }
            prop_assert_eq!(rights.allow(kind, "nobody-s", Access::Read), has("admin"));
        }
    }

    #[test]
    fn the_order_and_number_of_groups_is_no_matter(groups in prop::collection::vec(any_group(), 0..4)) {
        let specs: Vec<UserGroupSpec> = groups.into_iter().map(spec).collect();
        let rights = table(&union(&specs));
        prop_assert_eq!(table(&union(specs.iter().rev())), rights.clone());
        prop_assert_eq!(table(&union(specs.iter().chain(&specs))), rights);
    }

    /// One more group never takes anything away.
    #[test]
    fn a_further_group_only_adds(group in any_group(), more in any_group()) {
        let (group, more) = (spec(group), spec(more));
        let (before, after) = (union([&group]), union([&group, &more]));
        for kind in KINDS {
            for name in NAMES {
                for access in [Access::Read, Access::Write] {
                    let (had, has) = (before.allow(kind, name, access), after.allow(kind, name, access));
                    prop_assert!(!had || has);
                }
            }
        }
    }
}

#[test]
fn credentials_that_bcrypt_cannot_tell_apart_are_one_or_nobody_s() {
    let parse = |pair: &[u8]| {
        use base64::Engine;
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        Presented::parse(format!("Basic {pair}").as_bytes())
    };
    assert_eq!(parse(b"ann:abc\0abc"), None, "bcrypt takes it for `abc`");
    assert!(parse(b"ann:abc").is_some());
    let long = "x".repeat(MAX_SECRET_BYTES);
    let exact = parse(format!("ann:{long}").as_bytes()).expect("credentials");
    let longer = parse(format!("ann:{long}tail").as_bytes()).expect("credentials");
    assert_ne!(longer, exact);
    assert_eq!(longer.as_hashed(), exact.clone().as_hashed());
    assert_eq!(exact.clone().as_hashed(), exact);
    let token = Presented::Bearer(format!("{long}tail").into_bytes());
    assert_eq!(token.as_hashed(), Presented::Bearer(long.into_bytes()));
}

#[rstest]
#[case("Jörg  K", true)]
#[case("ann@example.com", true)]
#[case("50%", true)]
#[case("", false)]
#[case(" ann", false)]
#[case("a:b", false)]
#[case("a/b", false)]
#[case("..", false)]
#[case("adm\u{200b}in", false)]
#[case("\u{202e}toor", false)]
#[case("\u{fffd}", false)]
#[case("a\nb", false)]
fn a_name_of_a_user_can_be_told_from_others_when_it_is_seen(
    #[case] name: &str,
    #[case] fits: bool,
) {
    assert_eq!(AccountName::new(name).is_ok(), fits);
}
