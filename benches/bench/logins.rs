//! What a good client feels of a hundred wrong logins a second.

use crate::results::Figure;
use crate::{Outcome, PASSWORD, URL, percentile};
use nebula::client::{Client, Credentials};
use nebula::config::Secret;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Rounds with and without, in turn; all their latencies count together.
const ROUNDS: u32 = 3;
const ROUND: Duration = Duration::from_secs(10);
/// Each of these many good connections asks this often: 800 requests a second, which leaves the
/// machine idle enough for a latency to mean something.
const GOOD: usize = 4;
const GOOD_EVERY: Duration = Duration::from_millis(5);
/// A hundred a second.
const BAD_EVERY: Duration = Duration::from_millis(10);

pub(crate) async fn measure(figures: &mut Vec<Figure>) -> Outcome<()> {
    let answered = Arc::new(AtomicU32::new(0));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.extend(good_clients().await?);
        let guessers = guess(&answered);
        with.extend(good_clients().await?);
        drop(guessers);
    }
    for (what, percent) in [
        ("a good client's /info, p50, 100 wrong logins a second, to none", 50),
        ("a good client's /info, p99, 100 wrong logins a second, to none", 99),
    ] {
        let figure = Figure::new(what, "ms", percentile(&mut with, percent));
        figures.push(figure.beside(percentile(&mut without, percent)));
    }
    let answered = f64::from(answered.load(Ordering::Relaxed));
    let rate = answered / (f64::from(ROUNDS) * ROUND.as_secs_f64());
    let what = "wrong logins that were answered";
    figures.push(Figure::new(what, "a second", rate));
    Ok(())
}

fn client(user: &str, password: &str) -> Outcome<Client> {
    let password = Secret::new(password.to_owned());
    let credentials = Credentials::Basic { user: user.to_owned(), password };
    Ok(Client::new(URL, &credentials, Duration::from_secs(30))?)
}

/// The latencies in milliseconds of a stored user's requests.
async fn good_clients() -> Outcome<Vec<f64>> {
    let mut clients = JoinSet::new();
    for _ in 0..GOOD {
        let client = client("device", PASSWORD)?;
        // The hash is not what is measured.
        client.info("bench", None).await?;
        clients.spawn(async move {
            let mut latencies = Vec::new();
            let mut ticks = interval(GOOD_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let begun = Instant::now();
            while begun.elapsed() < ROUND {
                ticks.tick().await;
                let asked = Instant::now();
                client.info("bench", None).await.map_err(|error| error.to_string())?;
                latencies.push(asked.elapsed().as_secs_f64() * 1_000.0);
            }
            Ok::<_, String>(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(latencies) = clients.join_next().await {
        all.extend(latencies??);
    }
    Ok(all)
}

/// Wrong passwords of users who exist and who do not, until it is dropped. Each is another one, so
/// that none is known to be wrong. They share one cheap client: what it costs is not what is
/// measured.
fn guess(answered: &Arc<AtomicU32>) -> JoinSet<()> {
    let mut guessers = JoinSet::new();
    let answered = Arc::clone(answered);
    guessers.spawn(async move {
        let client = reqwest::Client::new();
        let mut ticks = interval(BAD_EVERY);
        let mut running = JoinSet::new();
        loop {
            ticks.tick().await;
            while running.try_join_next().is_some() {}
            let number = rand::random::<u64>();
            let user =
                if number.is_multiple_of(2) { "device".to_owned() } else { format!("u{number}") };
            let request = client.get(format!("{URL}/api/v2/status"));
            let request = request.basic_auth(user, Some(number.to_string()));
            let answered = Arc::clone(&answered);
            running.spawn(async move {
                if request.send().await.is_ok_and(|reply| reply.status().is_client_error()) {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    guessers
}
