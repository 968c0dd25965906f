//! `/info` over ten thousand device groups, one after the other, against the same manager's rate
//! over one of them.
//!
//! Both are asked by the same script with as many ready requests, so that what the script costs is
//! on both sides.

use crate::load::{self, Load};
use crate::results::Figure;
use crate::{ADMIN, Manager, Outcome, URL, object};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use nebula::client::Noun;
use serde_json::json;
use std::path::Path;
use std::time::Instant;

const GROUPS: usize = 10_000;
/// Created at once: more only wait for the disk together.
const AT_ONCE: usize = 16;
/// Of those that the manager has: an answer of a few kB, as a typical group's.
const APPS_PER_GROUP: usize = 5;
const ROUNDS: usize = 5;
const ROUND: &str = "4s";
const CONNECTIONS: usize = 64;
/// What is promised.
const LEAST_TO_HOT: f64 = 0.7;

/// The arguments: how many groups.
const SCRIPT: &str = r#"local requests, count, turn = {}, 10000, 0
function init(arguments)
    local groups = tonumber(arguments[1])
    for i = 1, count do
        local path = string.format("/api/v2/device_groups/bench-%05d/info", (i - 1) % groups)
        requests[i] = wrk.format(nil, path)
    end
end
function request()
    turn = turn % count + 1
    return requests[turn]
end
"#;

pub(crate) async fn measure(
    manager: &Manager,
    folder: &Path,
    figures: &mut Vec<Figure>,
) -> Outcome<()> {
    let begun = Instant::now();
    let client = &manager.server.client;
    let group = object(json!({ "apps": &manager.apps[..APPS_PER_GROUP] }));
    let names: Vec<String> = (0..GROUPS).map(|number| format!("bench-{number:05}")).collect();
    stream::iter(&names)
        .map(async |name| client.create(Noun::DeviceGroup, name, &group).await.map(|_| ()))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let count = f64::from(u32::try_from(GROUPS)?);
    let rate = count / begun.elapsed().as_secs_f64();
    figures.push(Figure::new(
        format!("device groups created, {AT_ONCE} at once"),
        "a second",
        rate,
    ));
    // As real devices have it: one user group that names each of them.
    let grants: serde_json::Map<_, _> =
        names.iter().map(|name| (name.clone(), "ro".into())).collect();
    let grants = json!({ "group_members": ["device"], "device_groups": grants });
    client.update(Noun::UserGroup, "devices", &object(grants)).await?;

    let script = folder.join("groups.lua");
    std::fs::write(&script, SCRIPT)?;
    let token = format!("Authorization: Bearer {}", manager.token);
    for (who, credentials) in [("the admin's", ADMIN), ("a stored user's", &token)] {
        let load = |groups: &str| Load::new(URL, &[credentials]).with_script(&script, &[groups]);
        let (over_all, over_one) = (load(&GROUPS.to_string()), load("1"));
        // Every answer is made once; what counts is all that come after it.
        over_all.run(CONNECTIONS, "5s")?;
        let hits = manager.server.metric("nebula_info_cache_hits_total").await?;
        let misses = manager.server.metric("nebula_info_cache_misses_total").await?;
        let rounds = load::in_turn(&[&over_all, &over_one], ROUNDS, CONNECTIONS, ROUND)?;
        let [over_all, over_one] = rounds.as_slice() else { continue };
        let figure = Figure::new(
            format!("200 over {GROUPS} groups, {who}, to one group"),
            "requests/s",
            load::rate(over_all),
        );
        let figure = figure.beside_at(load::rate(over_one), load::ratio(over_all, over_one));
        figures.push(figure.at_least(LEAST_TO_HOT));
        let hits = manager.server.metric("nebula_info_cache_hits_total").await? - hits;
        let misses = manager.server.metric("nebula_info_cache_misses_total").await? - misses;
        let share = misses / (hits + misses) * 100.0;
        figures.push(Figure::new(format!("the same, {who}, answers made anew"), "%", share));
    }
    Ok(())
}
