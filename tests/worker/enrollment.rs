//! A device makes a credential of its own, enrolls it by a one-time token, and lives by it.

use crate::binary::Binary;
use crate::docker::Docker;
use crate::gate::{Enrolling, Gate, Request};
use crate::offline::{Log, pretended};
use crate::world::{World, until};
use nebula::engine::FakeEngine;
use nebula::model::Machine;
use rstest::rstest;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const TOKEN: &str = "nebula_enroll_One";
const OTHER: &str = "nebula_enroll_Two";
const HOSTNAME: &str = "till-7";

/// A pretended device, a manager with a token for one device, and both brought together.
async fn invited() -> (World, FakeEngine, Gate) {
    let (mut world, engine) = pretended().await;
    let gate = Gate::start().await;
    gate.make_token(TOKEN, 1);
    gate.invite(&mut world, Some(TOKEN));
    (world, engine, gate)
}

fn kept(world: &World) -> Value {
    let bytes = std::fs::read(world.data_file("credential.json")).expect("a file");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Waits until the device asks with the credential that it enrolled.
async fn checks_in(gate: &Gate) {
    let own = |it: &Request| it.is_check_in() && it.bearer == gate.token_of(HOSTNAME);
    gate.asked("by the device itself", 1, own).await;
}

#[tokio::test]
async fn a_device_enrolls_and_does_all_with_its_own_credential() {
    let (log, _hearing) = Log::hear();
    let (world, engine, gate) = invited().await;
    let worker = world.worker_on(Arc::new(engine));
    checks_in(&gate).await;
    let own = gate.token_of(HOSTNAME).expect("enrolled");
    // The hostname in hexadecimal digits.
    let secret = own.strip_prefix("nebula_device_74696c6c2d37_").expect("its form");
    assert_eq!(secret.len(), 43, "256 bits");
    gate.asked("for a report", 1, |it| it.line == "POST /api/v2/reports").await;
    for request in gate.requests() {
        let expected = if request.is_enrollment() { TOKEN } else { own.as_str() };
        assert_eq!(request.bearer.as_deref(), Some(expected), "{request:?}");
    }
    assert_eq!(gate.enrollments().len(), 1);
    assert_eq!(gate.uses_left(TOKEN), 0);
    let mode = std::fs::metadata(world.data_file("credential.json")).expect("a file").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    worker.stop().await;
    let said = log.lines("").join("\n");
    assert!(!said.contains(&own) && !said.contains(TOKEN), "{said}");

    // The token has done its work, and need not be there any more.
    let (mut world, engine) = (world, pretended().await.1);
    gate.invite(&mut world, None);
    let worker = world.worker_on(Arc::new(engine));
    checks_in(&gate).await;
    assert_eq!(gate.enrollments().len(), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_by_the_same_token() {
    let (world, engine, gate) = invited().await;
    gate.enrolling(Enrolling::LosesReplies);
    let worker = world.worker_on(Arc::new(engine));
    gate.asked("to enroll, three times", 3, Request::is_enrollment).await;
    gate.enrolling(Enrolling::Works);
    checks_in(&gate).await;
    let asked = gate.enrollments();
    assert!(asked.iter().all(|it| *it == asked[0]), "{asked:#?}");
    assert!(asked.len() >= 4 && gate.uses_left(TOKEN) == 0);
    worker.stop().await;
}

#[tokio::test]
async fn a_reply_that_is_lost_for_longer_than_the_token_lives_is_made_up_for() {
    let (world, engine, gate) = invited().await;
    gate.enrolling(Enrolling::LosesReplies);
    let worker = world.worker_on(Arc::new(engine.clone()));
    gate.asked("to enroll", 1, Request::is_enrollment).await;
    worker.stop().await;
    gate.enrolling(Enrolling::IsOver);
    let worker = world.worker_on(Arc::new(engine));
    gate.asked("to enroll", 1, Request::is_enrollment).await;
    gate.asked("for a report", 1, |it| it.line == "POST /api/v2/reports").await;
    assert!(!kept(&world)["accepted"].is_null(), "{}", kept(&world));
    worker.stop().await;
}

#[rstest]
#[case::before_it_is_accepted(Enrolling::Hangs)]
#[case::before_the_reply(Enrolling::LosesReplies)]
#[case::after_the_reply(Enrolling::Works)]
#[tokio::test]
async fn inv_15_killed_while_it_enrolls_a_device_uses_its_token_once(#[case] step: Enrolling) {
    let mut world = World::on(Docker::at("unix:///nowhere")).await;
    world.extra.insert("NEBULA_HOSTNAME".to_owned(), HOSTNAME.to_owned());
    let gate = Gate::start().await;
    gate.make_token(TOKEN, 1);
    gate.invite(&mut world, Some(TOKEN));
    gate.enrolling(step);
    let asking = gate.asked("to enroll", 1, Request::is_enrollment);
    let worker = Binary::start(&world);
    asking.await;
    worker.kill().await;
    let kept = kept(&world);
    let asked = gate.enrollments()[0]["token"].clone();
    // It may have heard of its acceptance, or not; the token was on disk before anybody saw it.
    let both = [&kept["asked"]["token"], &kept["accepted"]["token"]];
    assert!(both.contains(&&asked), "{asked} is not in {kept}");

    gate.enrolling(Enrolling::Works);
    let worker = Binary::start(&world);
    checks_in(&gate).await;
    assert_eq!(gate.token_of(HOSTNAME).map(Value::from), Some(asked.clone()));
    assert!(gate.enrollments().iter().all(|it| it["token"] == asked), "{:?}", gate.enrollments());
    assert_eq!(gate.uses_left(TOKEN), 0);
    worker.kill().await;
    // And a third start asks for nothing more.
    let before = gate.enrollments().len();
    let worker = Binary::start(&world);
    checks_in(&gate).await;
    assert_eq!(gate.enrollments().len(), before);
    worker.stop().await;
}

#[tokio::test]
async fn inv_20_a_refused_enrollment_is_told_once_and_what_runs_goes_on() {
    let (mut world, engine) = pretended().await;
    let worker = world.worker_on(Arc::new(engine.clone()));
    let runs = |engine: &FakeEngine| {
        engine.world(|it| it.observe(Machine { cores: 2, memory_mb: 1024 })).containers.len()
    };
    until("it runs", || async { runs(&engine) == 1 }).await;
    world.manager.asked_again(1).await;
    worker.stop().await;
    // As after a power cut that took the containers along.
    let (_, engine) = pretended().await;

    let (log, _hearing) = Log::hear();
    let gate = Gate::start().await;
    gate.invite(&mut world, Some("nebula_enroll_used_up"));
    let worker = world.worker_on(Arc::new(engine.clone()));
    gate.asked("to enroll, three times", 3, Request::is_enrollment).await;
    let told = log.lines("enrollment failed; what runs is kept");
    assert_eq!(told.len(), 1, "{told:#?}");
    for words in ["used up, has expired", "device-groups enroll tills", "enrollment_token"] {
        assert!(told[0].contains(words), "{words} is not in {told:?}");
    }
    assert!(gate.requests().iter().all(|it| it.bearer.is_some()), "nobody asks as nobody");
    // From disk, while nobody lets it in.
    until("it runs again", || async { runs(&engine) == 1 }).await;
    // A token that begins to count is used, as of a manager that hears of it late.
    gate.make_token("nebula_enroll_used_up", 1);
    checks_in(&gate).await;
    until("it is told", || async { log.lines("enrollment works again").len() == 1 }).await;
    worker.stop().await;
}

#[tokio::test]
async fn another_token_enrolls_anew_and_the_old_credential_serves_until_then() {
    let (mut world, engine, gate) = invited().await;
    let worker = world.worker_on(Arc::new(engine.clone()));
    checks_in(&gate).await;
    let old = gate.token_of(HOSTNAME).expect("enrolled");
    worker.stop().await;

    gate.make_token(OTHER, 1);
    gate.invite(&mut world, Some(OTHER));
    gate.enrolling(Enrolling::Hangs);
    let worker = world.worker_on(Arc::new(engine));
    gate.asked("to enroll", 1, Request::is_enrollment).await;
    checks_in(&gate).await;
    assert_eq!(gate.token_of(HOSTNAME).as_ref(), Some(&old), "the old one serves");
    gate.enrolling(Enrolling::Works);
    until("it has another", || async { gate.token_of(HOSTNAME).as_ref() != Some(&old) }).await;
    checks_in(&gate).await;
    assert_eq!((gate.uses_left(TOKEN), gate.uses_left(OTHER)), (0, 0));
    assert!(!kept(&world).to_string().contains(&old), "{}", kept(&world));
    worker.stop().await;
}

#[tokio::test]
async fn a_revoked_device_holds_what_it_runs_and_says_what_to_do() {
    let (log, _hearing) = Log::hear();
    let (world, engine, gate) = invited().await;
    let worker = world.worker_on(Arc::new(engine.clone()));
    checks_in(&gate).await;
    gate.revoke_all();
    gate.asked("in vain", 3, Request::is_check_in).await;
    until("it is told", || async { !log.lines("check-in failed").is_empty() }).await;
    let told = log.lines("check-in failed; what runs is kept");
    assert_eq!(told.len(), 1, "{told:#?}");
    for words in ["credential is revoked", "device-groups enroll tills", "enrollment_token"] {
        assert!(told[0].contains(words), "{words} is not in {told:?}");
    }
    assert!(worker.is_alive());
    assert_eq!(gate.enrollments().len(), 1, "a revoked device does not let itself in");
    worker.stop().await;
}

#[tokio::test]
async fn another_hostname_enrolls_anew_and_is_told() {
    let (mut world, engine, gate) = invited().await;
    let worker = world.worker_on(Arc::new(engine.clone()));
    checks_in(&gate).await;
    worker.stop().await;

    let (log, _hearing) = Log::hear();
    world.extra.insert("NEBULA_HOSTNAME".to_owned(), "till-8".to_owned());
    let worker = world.worker_on(Arc::new(engine.clone()));
    gate.asked("to enroll", 1, Request::is_enrollment).await;
    checks_in(&gate).await;
    let told = log.lines("enrolled by another hostname");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("till-7") && told[0].contains("till-8"), "{told:?}");
    worker.stop().await;
    gate.make_token(OTHER, 1);
    gate.invite(&mut world, Some(OTHER));
    let worker = world.worker_on(Arc::new(engine));
    until("it is the other one", || async { gate.token_of("till-8").is_some() }).await;
    worker.stop().await;
}

fn damage(file: &Path, how: &str) {
    let text = std::fs::read_to_string(file).expect("a file");
    let damaged = match how {
        "cut" => text[..text.len() / 2].to_owned(),
        "empty" => String::new(),
        "unsendable" => text.replace("nebula_device_", "nebula\\ndevice_"),
        other => panic!("{other}?"),
    };
    std::fs::write(file, damaged).expect("written");
}

#[rstest]
#[case("cut")]
#[case("empty")]
#[case("unsendable")]
#[tokio::test]
async fn a_damaged_credential_is_told_and_enrolled_anew(#[case] how: &str) {
    let (mut world, engine, gate) = invited().await;
    let worker = world.worker_on(Arc::new(engine.clone()));
    checks_in(&gate).await;
    let old = gate.token_of(HOSTNAME).expect("enrolled");
    worker.stop().await;
    damage(&world.data_file("credential.json"), how);

    let (log, _hearing) = Log::hear();
    gate.make_token(OTHER, 1);
    gate.invite(&mut world, Some(OTHER));
    let worker = world.worker_on(Arc::new(engine));
    until("it has another", || async { gate.token_of(HOSTNAME).as_ref() != Some(&old) }).await;
    checks_in(&gate).await;
    let told = log.lines("state is unreadable; put aside");
    assert!(told.len() == 1 && told[0].contains("credential.json"), "{told:?}");
    assert!(!log.lines("").join("\n").contains(&old), "{told:?}");
    worker.stop().await;
}

#[tokio::test]
async fn without_a_disk_to_keep_its_token_on_a_device_does_not_enroll() {
    let (log, _hearing) = Log::hear();
    let (world, engine, gate) = invited().await;
    // A folder where the file would be replaced: nothing can be renamed to it.
    std::fs::create_dir_all(world.data_file("credential.json/in-the-way")).expect("made");
    let worker = world.worker_on(Arc::new(engine));
    until("it is told", || async { log.lines("enrollment failed").len() == 1 }).await;
    assert!(log.lines("enrollment failed")[0].contains("cannot write"), "{:?}", log.lines(""));
    assert!(gate.requests().is_empty(), "{:?}", gate.requests());
    std::fs::remove_dir_all(world.data_file("credential.json")).expect("removed");
    checks_in(&gate).await;
    assert_eq!(gate.uses_left(TOKEN), 0);
    worker.stop().await;
}

#[tokio::test]
async fn plain_http_to_another_machine_is_warned_of_once() {
    let (log, _hearing) = Log::hear();
    let (mut world, engine) = pretended().await;
    // An address of which nobody answers.
    world.extra.insert("NEBULA_MANAGER_HOST".to_owned(), "192.0.2.1".to_owned());
    world.extra.insert("NEBULA_MANAGER_REQUEST_TIMEOUT".to_owned(), "1".to_owned());
    let worker = world.worker_on(Arc::new(engine.clone()));
    let tried = || async { !log.lines("check-in failed").is_empty() };
    crate::world::until_within(Duration::from_secs(30), "it was tried", async || {
        tried().await.then_some(())
    })
    .await;
    worker.stop().await;
    assert_eq!(log.lines("plain http").len(), 1, "{:?}", log.lines(""));
    world.extra.remove("NEBULA_MANAGER_HOST");
    let worker = world.worker_on(Arc::new(engine));
    world.manager.asked_again(1).await;
    worker.stop().await;
    assert_eq!(log.lines("plain http").len(), 1, "{:?}", log.lines(""));
}
