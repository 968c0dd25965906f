//! `/info` of one group under load, with real authentication, against a bare hyper server and nginx
//! that give the same bytes to everybody.

use crate::load::{self, Load, Loaded};
use crate::results::Figure;
use crate::rivals::{Nginx, start_bare};
use crate::{ADMIN, Manager, Outcome, URL};
use nebula::client::Info;
use std::path::Path;

/// Rounds of each load, in turn, of which the median counts: a shared machine is noisy.
const ROUNDS: usize = 5;
/// How long one round takes.
const ROUND: &str = "3s";
/// For the rate: enough that none waits for another.
const CONNECTIONS: usize = 64;
/// For the latency, with rounds that are longer and fewer.
const MANY_CONNECTIONS: usize = 500;
const MANY_ROUNDS: usize = 3;
const MANY_ROUND: &str = "5s";
/// What is promised.
const LEAST_TO_BARE: f64 = 0.85;
const LEAST_TO_NGINX: f64 = 1.0;
const LIMIT_P99_MS: f64 = 25.0;

pub(crate) async fn measure(
    manager: &Manager,
    folder: &Path,
    figures: &mut Vec<Figure>,
) -> Outcome<()> {
    let Info::Answer { bytes, etag } = manager.server.client.info("bench", None).await? else {
        return Err("no answer".into());
    };
    let etag = etag.ok_or("no ETag")?;
    let nginx = Nginx::start(folder, 7_004, &bytes).await?;
    let token = format!("Authorization: Bearer {}", manager.token);
    for (status, port, body) in [("200", 7_002, bytes.as_slice()), ("304", 7_003, &[])] {
        let known = |etag: &str| match status {
            "304" => vec![format!("If-None-Match: {etag}")],
            _ => Vec::new(),
        };
        let _bare = start_bare(folder, port, body).await?;
        let ours = |credentials: &str| {
            let mut load =
                Load::new(format!("{URL}/api/v2/device_groups/bench/info"), &[credentials]);
            load.headers.extend(known(&etag));
            load
        };
        let (admin, device) = (ours(ADMIN), ours(&token));
        // Credentials that nobody reads, for requests of the same length.
        let mut bare = Load::new(format!("http://127.0.0.1:{port}/"), &[&token]);
        bare.headers.extend(known(&etag));
        let mut file = Load::new(&nginx.url, &[&token]);
        file.headers.extend(known(&nginx.etag));
        // The first request takes the hash; what counts is all that come after it.
        device.run(CONNECTIONS, "1s")?;
        let rounds = load::in_turn(&[&admin, &device, &bare, &file], ROUNDS, CONNECTIONS, ROUND)?;
        push_rates(status, &rounds, figures);
        if status == "200" {
            let loads = [&device, &bare, &file];
            let rounds = load::in_turn(&loads, MANY_ROUNDS, MANY_CONNECTIONS, MANY_ROUND)?;
            push_latencies(&rounds, figures);
        }
    }
    Ok(())
}

fn push_rates(status: &str, rounds: &[Vec<Loaded>], figures: &mut Vec<Figure>) {
    let [admin, device, bare, nginx] = rounds else { return };
    let mut push = |what: &str, ours: &[Loaded], theirs: &[Loaded], limit: Option<f64>| {
        let figure = Figure::new(format!("{status}, {what}"), "requests/s", load::rate(ours));
        let figure = figure.beside_at(load::rate(theirs), load::ratio(ours, theirs));
        figures.push(match limit {
            Some(limit) => figure.at_least(limit),
            None => figure,
        });
    };
    push("the admin's, to bare hyper", admin, bare, Some(LEAST_TO_BARE));
    push("a stored user's, to bare hyper", device, bare, Some(LEAST_TO_BARE));
    push("the admin's, to nginx", admin, nginx, Some(LEAST_TO_NGINX));
    push("a stored user's, to nginx", device, nginx, Some(LEAST_TO_NGINX));
    push("a stored user's, to the admin's", device, admin, None);
}

fn push_latencies(rounds: &[Vec<Loaded>], figures: &mut Vec<Figure>) {
    let [device, bare, nginx] = rounds else { return };
    let p99 = |what: &str, rounds| {
        Figure::new(
            format!("200, {what}, {MANY_CONNECTIONS} connections, p99"),
            "ms",
            load::p99_ms(rounds),
        )
    };
    figures.push(p99("a stored user's", device).at_most(LIMIT_P99_MS));
    figures.push(p99("bare hyper's", bare));
    figures.push(p99("nginx's", nginx));
    let what = format!("200, a stored user's, {MANY_CONNECTIONS} connections, to bare hyper");
    let figure = Figure::new(what, "requests/s", load::rate(device));
    figures.push(figure.beside_at(load::rate(bare), load::ratio(device, bare)));
}
